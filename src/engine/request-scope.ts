import { closeScope, createScope, currentScope, runUntilSettled } from './token-scope'

/** Runs what serves a request in a fresh scope, which lasts until the response has closed, where that can be told. */
export function runInRequest(next: () => void, response: unknown): void {
  const scope = createScope(currentScope()?.job)
  const ending = findEnding(response)
  if (ending && (ending.closed ?? ending.stream?.closed) === true) closeScope(scope)
  else ending?.once('close', () => closeScope(scope))
  runUntilSettled(scope, next)
}

/** The part of a response that tells of its end. */
interface ResponseEnding {
  readonly closed?: unknown
  /** Knows it where the response is one of HTTP/2. */
  readonly stream?: { readonly closed?: unknown } | undefined
  once(event: 'close', listener: () => void): unknown
}

/** Node's own response tells of its end; Fastify's reply carries one. */
function findEnding(response: unknown): ResponseEnding | undefined {
  const carried = (response as { raw?: unknown } | null | undefined)?.raw
  return [response, carried].find((each): each is ResponseEnding => {
    return typeof (each as Partial<ResponseEnding> | null | undefined)?.once === 'function'
  })
}
