/** Five characters, none of which are a code of Node's, like EPIPE: the classes of those begin with none of these. */
const SQL_STATE = /^[\dFHPX][\dA-Z]{4}$/
/**
 * Classes that say nothing of the statement: of the connection, its transaction, the server's means, its end, and its own errors;
 * and that the server may only be read, as after a failover, where another connection may lead to the new one.
 */
const NO_REFUSAL = /^(08|25P|25006|53|57P|58|F|X)/
const NO_SUCH_TABLE = '42P01'

/** Reads PostgreSQL's code of an error, which alone is the same in every language; `undefined` for one that is not the server's. */
export function sqlStateOf(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown }
  return typeof code === 'string' && SQL_STATE.test(code) ? code : undefined
}

/** Tells whether a statement was refused because its table does not exist: somebody has dropped it. */
export function isMissingTable(error: unknown): boolean {
  return sqlStateOf(error) === NO_SUCH_TABLE
}

/** Tells whether the server answered, and refused the statement, so that its connection is as good as before. */
export function isRefusal(error: unknown): boolean {
  const code = sqlStateOf(error)
  return code !== undefined && !NO_REFUSAL.test(code)
}
