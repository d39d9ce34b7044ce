import { join, resolve } from 'node:path'
import ts from 'typescript'
import manifest from '../../package.json'

const ROOT = resolve(import.meta.dirname, '../..')
/** Where the reference stands: beside what it describes. */
export const REFERENCE = 'src/README.md'

/** Writes the reference. */
export function writeReference(): string {
  const head =
    'Every public name, with the first lines of its docstring. An editor shows the rest, with parameters and examples.'
  return `# What is in the package\n\n<!-- made of the docstrings by npm run reference -->\n\n${head}\n\n${describeEntries()}`
}

/** Describes every public name of every entry, with the first paragraph of its docstring. */
function describeEntries(): string {
  const entries = Object.keys(manifest.exports).filter((path) => !path.endsWith('.json'))
  const files = entries.map((path) => join(ROOT, 'src', path, 'index.ts'))
  // Docstrings can be read without any library's types, and much faster.
  const program = ts.createProgram(files, { noLib: true, types: [], moduleResolution: ts.ModuleResolutionKind.Bundler })
  const tables = entries.map(
    (path, index) => `## \`${join(manifest.name, path)}\`

| name | is | docstring |
|---|---|---|
${describeNames(program, files[index] ?? '').join('\n')}
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
