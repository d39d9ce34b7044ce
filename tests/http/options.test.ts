import { createJobHandler, createNodeHandler, type JobHandlerOptions } from 'after-jobs/http'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { AfterJobs } from '../../src/core/runtime'
import { createStubJobs, STATUSES, TOKENS } from './stub-jobs'

afterEach(() => vi.unstubAllEnvs())

type Make = (jobs: AfterJobs, options?: JobHandlerOptions<never>) => unknown

const MAKERS: { name: string; make: Make }[] = [
  { name: 'createJobHandler', make: createJobHandler },
  { name: 'createNodeHandler', make: createNodeHandler },
]

describe.each(MAKERS)('$name', ({ name, make }) => {
  test.each([undefined, null, {}, { record: 1 }, 'jobs', () => {}])('refuses %o for jobs', (jobs) => {
    expect(() => make(jobs as never)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining('createAfterJobs()') }),
    )
  })

  test.each([
    [{ basePath: 1 }, 'basePath'],
    [{ basePath: null }, 'basePath'],
    [{ basePath: 'https://example.com/jobs' }, 'basePath'],
    [{ basePath: '/jobs?x=1' }, 'basePath'],
    [{ basePath: '/jobs#x' }, 'basePath'],
    [{ basePath: '/my jobs' }, 'basePath'],
    [{ basePath: '/tâches' }, 'basePath'],
    [{ basePath: '//jobs' }, 'basePath'],
    [{ basePath: '/jobs//' }, 'basePath'],
    [{ authorize: true }, 'authorize'],
    [{ authorize: null }, 'authorize'],
    [{ start: 'yes' }, 'start'],
    [{ cancel: 1 }, 'cancel'],
    [{ exposeErrors: null }, 'exposeErrors'],
    [{ authorise: () => false }, 'authorise'],
    [null, 'options'],
    ['/jobs', 'options'],
  ])('refuses the options %o', (options, culprit) => {
    const makeIt = (): unknown => make(createStubJobs().jobs, options as JobHandlerOptions<never>)
    expect(makeIt).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    expect(makeIt).toThrow(new RegExp(`(?=.*${culprit})(?=.*${name})`))
  })

  test('an option that is undefined was left out', () => {
    const left = {
      basePath: undefined,
      authorize: undefined,
      start: undefined,
      cancel: undefined,
      exposeErrors: undefined,
    }
    expect(make(createStubJobs().jobs, left)).toBeTypeOf('function')
  })

  test.each([
    ['production', undefined, 1],
    ['production', () => true, 0],
    ['development', undefined, 0],
    ['test', undefined, 0],
  ] as const)('in %s with authorize %s: %i warnings', async (env, authorize, count) => {
    vi.stubEnv('NODE_ENV', env)
    const { jobs, logger } = createStubJobs()
    make(jobs, { authorize })
    expect(logger.warn).toHaveBeenCalledTimes(count)
    if (count > 0) expect(logger.warn).toHaveBeenCalledWith({}, expect.stringContaining('authorize'))
  })
})

test('a request adds no warning', async () => {
  vi.stubEnv('NODE_ENV', 'production')
  const { jobs, logger } = createStubJobs()
  const handler = createJobHandler(jobs)
  await handler(statusRequest('/jobs', TOKENS.done))
  await handler(statusRequest('/jobs', TOKENS.done))
  expect(logger.warn).toHaveBeenCalledTimes(1)
})

test.each([
  [undefined, '/jobs'],
  ['/jobs', '/jobs'],
  ['/jobs/', '/jobs'],
  ['jobs', '/jobs'],
  ['api/v1.0/jobs/', '/api/v1.0/jobs'],
  ['/t%C3%A2ches', '/t%C3%A2ches'],
  ['/', ''],
  ['', ''],
])('basePath %o serves under %o', async (basePath, served) => {
  const handler = createJobHandler(createStubJobs().jobs, { basePath })
  expect((await handler(statusRequest(served, TOKENS.done))).status).toBe(200)
  expect((await handler(statusRequest(`/x${served}`, TOKENS.done))).status).toBe(404)
})

describe('the message of an unexpected error', () => {
  const hidden = { ...STATUSES.unexpected, message: 'The job failed unexpectedly.' }

  test.each([
    ['production', undefined, hidden],
    ['staging', undefined, hidden],
    [undefined, undefined, hidden],
    ['development', undefined, STATUSES.unexpected],
    ['test', undefined, STATUSES.unexpected],
    ['production', true, STATUSES.unexpected],
    ['test', false, hidden],
  ])('NODE_ENV %s, exposeErrors %s', async (env, exposeErrors, status) => {
    vi.stubEnv('NODE_ENV', env)
    const handler = createJobHandler(createStubJobs().jobs, { exposeErrors })
    vi.stubEnv('NODE_ENV', 'read when the handler is made')
    expect(await (await handler(statusRequest('/jobs', TOKENS.unexpected))).json()).toEqual(status)
  })

  test('is hidden where there is no process', async () => {
    vi.stubGlobal('process', undefined)
    const handler = createJobHandler(createStubJobs().jobs)
    vi.unstubAllGlobals()
    expect(await (await handler(statusRequest('/jobs', TOKENS.unexpected))).json()).toEqual(hidden)
  })

  test('is the only one: what a JobError says is for the user', async () => {
    const handler = createJobHandler(createStubJobs().jobs, { exposeErrors: false })
    expect(await (await handler(statusRequest('/jobs', TOKENS.failed))).json()).toEqual(STATUSES.failed)
  })
})

function statusRequest(base: string, token: string): Request {
  return new Request(`http://localhost${base}/status/${token}`)
}
