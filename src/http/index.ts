/** Serves the status of jobs in every runtime that speaks `Request` and `Response`. */
export { createJobHandler, type JobHandler } from './fetch'
/** Serves the status of jobs on `node:http`, HTTP/2, Express, Connect, Fastify, Koa and NestJS. */
export { createNodeHandler, type NodeHandler, type NodeRequest, type NodeResponse } from './node'
/** Says where the jobs are served, and who may read or cancel which. */
export type { JobAccess, JobAction, JobAuthorize, JobHandlerOptions } from './options'
