// One case of bench/memory, in a process of its own: prints the seconds of its second step.
import { join } from 'node:path'
import { openModel } from '../../dist/model/open.js'
import { setThreads } from '../../dist/tensor/engine.js'
import { cases } from './cases.mjs'
import { twoSteps } from './steps.mjs'

const [name, folder] = process.argv.slice(2)
setThreads(null)
const seconds = await twoSteps(openModel(join(folder, cases[name].model)), cases[name])
console.log(seconds.toFixed(1))
