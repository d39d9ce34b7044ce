/** A fenced block of a Markdown file. */
export interface Block {
  /** What follows the opening fence: the language, then words of ours. */
  readonly info: string
  readonly code: string
  /** The numbers of its two fences, 1 for the first line of the file. */
  readonly line: number
  readonly end: number
  /** What a hidden comment right above says: `<!-- file: worker.ts; given: jobs -->`. */
  readonly comment: string
}

/** What the files of the README import, and its reader has: their names and texts. */
export const COMPANIONS: ReadonlyMap<string, string> = new Map(
  ['project-service.ts', 'database.ts'].map((name) => [name, "export * from './given'"]),
)

/** A table under a hidden comment. */
export interface Table {
  readonly comment: string
  /** The first name in backticks of each row, without its parameters. */
  readonly names: string[]
}

/** Reads the fenced blocks, in their order. */
export function readBlocks(markdown: string): Block[] {
  const lines = markdown.split('\n')
  const blocks: Block[] = []
  let start = -1
  for (const [index, text] of lines.entries()) {
    if (!text.startsWith('```')) continue
    if (start < 0) {
      start = index
      continue
    }
    blocks.push({
      info: (lines[start] ?? '').slice(3),
      code: lines.slice(start + 1, index).join('\n'),
      line: start + 1,
      end: index + 1,
      comment: readComment(lines[start - 1]),
    })
    start = -1
  }
  if (start >= 0) throw new Error(`The block of line ${start + 1} has no end.`)
  return blocks
}

/** Reads the tables that have a hidden comment right above. */
export function readTables(markdown: string): Table[] {
  const lines = markdown.split('\n')
  return lines.flatMap((text, index) => {
    const comment = readComment(text)
    if (comment === '' || !lines[index + 1]?.startsWith('|')) return []
    const length = lines.slice(index + 1).findIndex((line) => !line.startsWith('|'))
    // Less the head and the rule below it.
    const rows = lines.slice(index + 3, index + 1 + length)
    return [{ comment, names: rows.map((row) => /^\| `(\w+)/.exec(row)?.[1] ?? row) }]
  })
}

/** The code of a block with what its comment gives it; on the first line, so that faults keep their line. */
export function complete({ code, comment }: Block): string {
  const given = /\bgiven: (.+)$/.exec(comment)?.[1]
  return given === undefined ? `${code}\nexport {}` : `import { ${given} } from './given'; ${code}\nexport {}`
}

/** Names the file of a block: as its comment says, so that others can import it, else after its place. */
export function nameOf({ line, comment }: Block): string {
  return /\bfile: ([\w.-]+)/.exec(comment)?.[1] ?? `line-${line}.ts`
}

/** Takes the fenced blocks out, so that only prose and tables are left. */
export function withoutBlocks(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```$/gm, '')
}

function readComment(line: string | undefined): string {
  return /^<!-- (.+) -->$/.exec(line ?? '')?.[1] ?? ''
}
