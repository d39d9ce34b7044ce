import { join, resolve } from 'node:path'
import ts from 'typescript'
import manifest from '../../package.json'

const ROOT = resolve(import.meta.dirname, '../..')
const BEGIN = '<!-- reference: made of the docstrings by npm run reference -->'
const END = '<!-- end of the reference -->'

/** Puts the reference where the README has its place for it. */
export function withReference(readme: string): string {
  const [before, rest] = split(readme, BEGIN)
  const [, after] = split(rest, END)
  return `${before}${BEGIN}\n\n${describeEntries()}\n${END}${after}`
}

function split(text: string, at: string): [string, string] {
  const index = text.indexOf(at)
  if (index < 0) throw new Error(`The README has no line "${at}".`)
  return [text.slice(0, index), text.slice(index + at.length)]
}

/** Describes every public name of every entry, with the first paragraph of its docstring. */
function describeEntries(): string {
  const entries = Object.keys(manifest.exports).filter((path) => !path.endsWith('.json'))
  const files = entries.map((path) => join(ROOT, 'src', path, 'index.ts'))
  // Docstrings can be read without any library's types, and much faster.
  const program = ts.createProgram(files, { noLib: true, types: [], moduleResolution: ts.ModuleResolutionKind.Bundler })
  const tables = entries.map(
    (path, index) => `<details><summary><code>${join(manifest.name, path)}</code></summary>

| name | is | docstring |
|---|---|---|
${describeNames(program, files[index] ?? '').join('\n')}

</details>
`,
  )
  return tables.join('\n')
}

/** What can be called or made comes first, then the types. */
function describeNames(program: ts.Program, file: string): string[] {
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(file)
  const module = source && checker.getSymbolAtLocation(source)
  if (module === undefined) throw new Error(`${file} exports nothing.`)
  const names = checker.getExportsOfModule(module).map((symbol) => {
    const declared = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    const documentation = ts.displayPartsToString(declared.getDocumentationComment(checker))
    return { name: symbol.name, kind: kindOf(declared), text: firstParagraphOf(documentation) }
  })
  const order = (kind: string): number => (kind === 'type' ? 1 : 0)
  names.sort((a, b) => order(a.kind) - order(b.kind) || a.name.localeCompare(b.name, 'en'))
  return names.map(({ name, kind, text }) => `| \`${name}\` | ${kind} | ${text} |`)
}

function kindOf({ flags }: ts.Symbol): string {
  if (flags & ts.SymbolFlags.Class) return 'class'
  if (flags & ts.SymbolFlags.Function) return 'function'
  return flags & ts.SymbolFlags.Variable ? 'constant' : 'type'
}

function firstParagraphOf(documentation: string): string {
  const [paragraph = ''] = documentation.split('\n\n')
  const linked = paragraph.replace(/\{@link\s+(\S+?)\s*\}/g, '`$1`')
  return linked.replaceAll('\n', ' ').replaceAll('|', '\\|')
}
