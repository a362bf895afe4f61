import { z } from 'zod'
import { foreignOptions, type LossOptions, lossOptions, objectiveNames } from '../loss/table.ts'
import { nested, optionGroup } from '../options/option.ts'

const plot = optionGroup('Plot')
const objective = optionGroup('Objective')

/** Every option of `prospect plot`. */
export const plotOptions = z.strictObject({
  output: plot(
    '--output <file>',
    'Image to write; .svg or .png. Where the name has no such ending, both are written',
    z.string().min(1).optional(),
    'plots/value or plots/run',
  ),
  scale: plot('--scale <factor>', 'Pixels of a PNG for each of the image', z.number().positive().max(8).default(2)),
  range: plot('--range <number>', 'How far value functions are drawn from r = z0', z.number().positive().default(4)),
  known: plot('--known', "Draw the value functions of the KTO paper's Figure 2", z.boolean().default(true)),
  loss: nested('An objective whose value function is drawn too', {
    ...lossOptions,
    type: objective(
      '--loss <name>',
      'Draw the value function of this objective too',
      z.enum(objectiveNames).optional(),
      'none',
    ),
  }).transform((loss, context): LossOptions | null => {
    if (loss.type === undefined) {
      for (const [name, value] of Object.entries(loss))
        if (value !== undefined) context.addIssue({ code: 'custom', path: [name], message: 'needs --loss' })
      return null
    }
    const given = { ...loss, type: loss.type }
    for (const { name, problem } of foreignOptions(given))
      context.addIssue({ code: 'custom', path: [name], message: problem })
    return given
  }),
})

export type PlotOptions = z.output<typeof plotOptions>
