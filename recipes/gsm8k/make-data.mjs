// Makes the data of docs/gsm8k.md from the folder grade_school_math/data of a clone of openai/grade-school-math (MIT licence):
//   node recipes/gsm8k/make-data.mjs <folder> <output folder>
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const [from, to] = process.argv.slice(2)
if (!from || !to) {
  console.error('usage: node recipes/gsm8k/make-data.mjs <grade_school_math/data> <output folder>')
  process.exit(1)
}
const models = ['6b_finetuning', '6b_verification', '175b_finetuning', '175b_verification']
const [trainProblems, testProblems] = [1000, 150]

function rowsIn(name) {
  const lines = readFileSync(join(from, name), 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line))
}

function write(name, rows) {
  const file = join(to, name)
  writeFileSync(file, gzipSync(rows.map((row) => `${JSON.stringify(row)}\n`).join('')))
  console.log(`${file}: ${rows.length} rows`)
}

/** A row for each model's solution of each problem. */
function judged(problems) {
  return problems.flatMap((problem) =>
    models.map((model) => ({
      prompt: problem.question,
      completion: problem[model].solution,
      label: problem[model].is_correct,
    })),
  )
}

mkdirSync(to, { recursive: true })
const solved = rowsIn('example_model_solutions.jsonl')
write(
  'gsm8k-sft.jsonl.gz',
  rowsIn('train.jsonl').map(({ question, answer }) => ({ prompt: question, completion: answer })),
)
write('gsm8k-solutions.train.jsonl.gz', judged(solved.slice(0, trainProblems)))
write('gsm8k-solutions.test.jsonl.gz', judged(solved.slice(trainProblems, trainProblems + testProblems)))
