const TOKEN = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Tells whether a value has the exact form of a token: a UUID of version 4 (RFC 9562 §5.4), in lower case. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && value.length === 36 && TOKEN.test(value)
}

/** Shortens a token for logs: 8 characters correlate, and nobody can follow a job with them. */
export function shortToken(token: string): string {
  return token.slice(0, 8)
}

/** Derives the incarnation of the record that `queued` makes: a token is queued once, and a record made anew gets a random one. */
export function incarnationOf(token: string): number {
  // 30 bits, which V8 keeps without a box; never 0.
  return 1 + (Number.parseInt(token.slice(0, 8), 16) & 0x3fff_ffff)
}
