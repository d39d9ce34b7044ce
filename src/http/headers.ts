import { trimBasePath } from './options'

/** Where the jobs are served. */
export interface JobHeadersOptions {
  /** The `basePath` of the handler; with a host in front of it where that is another one. Default `'/jobs'`. */
  basePath?: string | undefined
}

/**
 * Makes the headers that tell a client where to watch the job of the request that it just made: `Operation-Location` (as in
 * Azure's API guidelines) and `Retry-After` in seconds (RFC 9110 §10.2.3). Answer 201 to a create, 202 otherwise.
 *
 * @returns `{}` where no job was started. It fits `new Headers()`, `response.set()`, `reply.headers()` and `writeHead()`.
 * @example
 * response.status(201).set(jobHeaders(service.getJobToken(project))).json(project)
 */
export function jobHeaders(token: string | undefined, options: JobHeadersOptions = {}): Record<string, string> {
  if (!token) return {}
  return { 'Operation-Location': `${trimBasePath(options.basePath ?? '/jobs')}/status/${token}`, 'Retry-After': '1' }
}
