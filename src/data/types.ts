/** What a data file holds, what the model sees of it, and what one training step takes from it. */

/** One turn of a conversation. Keys beyond these two (tool calls, names) reach the chat template untouched. */
export interface Message {
  role: string
  content: string
  [key: string]: unknown
}

/** Where a row came from, for error messages. */
export interface Origin {
  file: string
  /** Counts from 1: the line on which the record begins, or the number of the row in files without lines (Parquet, CSV). */
  line: number
  unit?: 'row'
}

/** One judged completion as the file has it: pairs are already two rows. */
export interface FeedbackRow {
  prompt: string | Message[]
  completion: string | Message[]
  /** true: thumbs up (desirable), false: thumbs down (undesirable). SFT rows, which have no label, are desirable. */
  label: boolean
  origin: Origin
  /** How much the row counts beside others; 1 where not given. */
  weight?: number
  /** Rows that are the two sides of one comparison, and only those, share this number. */
  pair?: number
  /** What the reply was scored, where the file says a score. */
  score?: number
  /** Who judged. */
  annotator?: string
  /** When it was judged, in milliseconds since 1970. */
  time?: number
  /** The value of the column that the split goes by. */
  group?: string
  /** Tools that the model could call, for the chat template. */
  tools?: readonly unknown[]
}

/** One judged completion as the model sees it. */
export interface Example {
  /** Position in the data set, from 0. */
  index: number
  /** Examples with equal prompt ids, and only those, share this number. */
  promptGroup: number
  /** Examples with equal completion ids, and only those, share this number. */
  completionGroup: number
  /** Token ids before the completion, BOS included where the tokenizer sets one. At least one token. */
  prompt: Int32Array
  /** Token ids the loss is taken over, EOS included unless it was truncated away. At least one token. */
  completion: Int32Array
  desirable: boolean
  origin: Origin
  /** How much the row counts beside others; 1 where not given. */
  weight?: number
  /** Two examples with the same number are the chosen (desirable) and rejected completion of a pair. */
  pair?: number
}

/** Tokens of one prompt followed by one completion: the unit that is packed. */
export interface Sequence {
  prompt: Int32Array
  completion: Int32Array
  /** Which row of the batch (or of any other list the caller keeps) this sequence belongs to. */
  row: number
  /** Sequences with equal keys have equal prompts and may share its tokens in a packed stream. */
  promptGroup: number
  /** Sequences with equal numbers stay in one micro-batch. */
  unit?: number | undefined
}
