import { brief } from '../origin.ts'
import type { Message } from '../types.ts'
import { numberOf } from './fields.ts'
import { isObject } from './messages.ts'
import { nothing } from './plain.ts'
import { byRank } from './ranked.ts'
import { type Fields, type Found, type Shape, type ShapeContext, simpleShape } from './shape.ts'

interface Node {
  text: string
  role: string
  rank: number | null
  replies: Node[]
}

/** OpenAssistant's *.trees.jsonl: a tree a line. */
export const oasstTrees = simpleShape(
  'oasst-trees',
  '`message_tree_id`, `prompt` with `replies` (OpenAssistant trees)',
  (fields) => 'message_tree_id' in fields && isObject(fields.prompt),
  (fields, context) => {
    const root = nodeOf(fields.prompt, 'prompt')
    return rowsOfTree(root, context)
  },
)

function nodeOf(value: unknown, name: string): Node {
  if (!isObject(value) || typeof value.text !== 'string' || typeof value.role !== 'string')
    throw new Error(`${name} must be a message {text, role, replies}, got ${brief(value)}`)
  const replies = Array.isArray(value.replies) ? value.replies : []
  return {
    text: value.text,
    role: value.role,
    rank: rankOf(value),
    replies: replies.map((reply, i) => nodeOf(reply, `${name}.replies[${i}]`)),
  }
}

/** Exports of all trees hold messages that were deleted, too: they are no answers. */
function rankOf({ rank, deleted }: Fields): number | null {
  return deleted === true ? null : numberOf(rank)
}

/** The rows of every place in a tree where replies of the assistant are ranked. */
function rowsOfTree(root: Node, context: ShapeContext): Found {
  const found: Found = { rows: [] }
  const walk = (node: Node, before: readonly Message[]) => {
    const here = [...before, { role: roleOf(node.role), content: node.text }]
    const answers = node.replies.filter(({ role, rank }) => roleOf(role) === 'assistant' && rank !== null)
    if (answers.length > 1) {
      const options = answers.map(({ text, rank }) => ({ text: [{ role: 'assistant', content: text }], rank: rank! }))
      found.rows.push(...byRank(here, options, context).rows)
    }
    for (const reply of node.replies) walk(reply, here)
  }
  walk(root, [])
  return found.rows.length > 0 ? found : nothing('no two replies of the tree are ranked')
}

function roleOf(role: string): string {
  return role === 'prompter' ? 'user' : role
}

/** OpenAssistant's *.messages.jsonl and its data set on the hub: a message a record, the messages of a tree one after the other. */
export const oasstMessages: Shape = {
  name: 'oasst-messages',
  title: '`message_id`, `parent_id`, `message_tree_id`, `role`, `text`, `rank` (OpenAssistant messages)',
  matches: (fields) => 'message_id' in fields && 'message_tree_id' in fields && 'text' in fields,
  reader(context) {
    let tree: Fields[] = []
    const done = new Set<string>()
    const flush = (): Found => {
      if (tree.length === 0) return { rows: [] }
      done.add(String(tree[0]!.message_tree_id))
      const messages = tree
      tree = []
      return rowsOfMessages(messages, context)
    }
    return {
      read(fields) {
        const id = String(fields.message_tree_id)
        if (typeof fields.text !== 'string' || typeof fields.role !== 'string')
          throw new Error(`a message must have text and role, got ${brief(fields)}`)
        if (done.has(id)) throw new Error(`tree ${id} was read before: sort the file by message_tree_id`)
        const before = tree.length > 0 && String(tree[0]!.message_tree_id) !== id ? flush() : { rows: [] }
        tree.push(fields)
        return before.rows.length > 0 ? before : { rows: [], leftOut: 'a message beside the ranked replies' }
      },
      end: () => [flush()],
    }
  },
}

function rowsOfMessages(messages: readonly Fields[], context: ShapeContext): Found {
  const nodes = new Map<string, Node>()
  for (const message of messages) {
    nodes.set(String(message.message_id), {
      text: message.text as string,
      role: message.role as string,
      rank: rankOf(message),
      replies: [],
    })
  }
  const roots: Node[] = []
  for (const { message_id: id, parent_id: parent } of messages) {
    const node = nodes.get(String(id))!
    const above = parent === undefined || parent === null || parent === '' ? undefined : nodes.get(String(parent))
    if (above) above.replies.push(node)
    else roots.push(node)
  }
  return { rows: roots.flatMap((root) => rowsOfTree(root, context).rows) }
}
