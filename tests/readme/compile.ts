import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import ts from 'typescript'

const ROOT = resolve(import.meta.dirname, '../..')

/** Type checks files that exist in memory only, as if they lay in this folder. Answers what is wrong in each. */
export function compile(files: ReadonlyMap<string, string>): Map<string, string[]> {
  const path = join(ROOT, 'tsconfig.json')
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(path, ts.sys.readFile).config, ts.sys, ROOT)
  // An example may name what it does not use.
  const settings = { ...options, noUnusedLocals: false, noUnusedParameters: false }
  const texts = new Map([...files].map(([name, text]) => [join(import.meta.dirname, name), text]))
  const host = ts.createCompilerHost(settings)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (file) => texts.has(resolve(file)) || fileExists(file)
  host.readFile = (file) => texts.get(resolve(file)) ?? readFile(file)
  host.getSourceFile = (file, language, ...rest) => {
    const text = texts.get(resolve(file))
    return text === undefined ? getSourceFile(file, language, ...rest) : ts.createSourceFile(file, text, language)
  }
  const program = ts.createProgram([...texts.keys()], settings, host)
  return new Map([...files.keys()].map((name) => [name, findFaults(program, join(import.meta.dirname, name))]))
}

function findFaults(program: ts.Program, file: string): string[] {
  const source = program.getSourceFile(file)
  if (source === undefined) throw new Error(`TypeScript did not read ${file}.`)
  return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((fault) => {
    const line = source.getLineAndCharacterOfPosition(fault.start ?? 0).line + 1
    return `line ${line}: ${ts.flattenDiagnosticMessageText(fault.messageText, '\n')}`
  })
}

/** Bundles a program with the sources of the package, so that a process of its own can run it. */
export async function bundle(code: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: import.meta.dirname, sourcefile: 'readme.ts', loader: 'ts' },
    ...{ bundle: true, write: false, platform: 'node', format: 'esm', target: 'node20', logLevel: 'silent' },
    tsconfig: join(ROOT, 'tsconfig.json'),
  })
  return outputFiles[0]?.text ?? ''
}
