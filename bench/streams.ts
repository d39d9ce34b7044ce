/**
 * What does a stream of Server-Sent Events cost, and does the store notice how many there are? 5,000 clients in a process of
 * their own follow 50 jobs of another runtime on one server. Beside ours a bare `node:http` server does the same by hand: one
 * timer reads each token and writes to whoever follows it.
 *
 * Run `npx tsx --expose-gc bench/streams.ts`, with `--quick` for a short form.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AfterJobs,
  createAfterJobs,
  type JobCache,
  type JobStatus,
  memoryCache,
  memoryQueue,
  withAfterJobs,
} from 'after-jobs'
import { createNodeHandler } from 'after-jobs/http'
import { checkBuild, IS_QUICK, measureVariant, printTable, quantile, ratios, runBenchmark, show } from './rounds'

const TOKENS = IS_QUICK ? 10 : 50
const STREAMS = IS_QUICK ? 500 : 5_000
const ROUNDS = IS_QUICK ? 1 : 3
/** Milliseconds for which the jobs move while all streams are open. */
const WINDOW = IS_QUICK ? 2_000 : 10_000
const INTERVAL = 250
const PREFIX = '/jobs/events/'
const BARE = 'bare node:http'
const OURS = 'createNodeHandler'

/** What a server was seen to do. */
interface Figures {
  /** Of heap and buffers of the server, after a collection. */
  bytesPerStream: number
  /** Of the whole process. */
  residentPerStream: number
  /** Streams whose last event was the final status, of all. */
  endedWell: number
  /** Reads of the store for each token and interval. */
  reads: number
  /** The part of one processor. */
  cpu: number
  /** Milliseconds from the write of a status to its arrival. */
  delays: [median: number, p99: number]
}

/** What the clients saw. */
interface Seen {
  endedWell: number
  delays: [number, number]
}

const VARIANTS = {
  [BARE]: () => measure(serveBare, STREAMS),
  /** So many streams; 0 for the usual number. */
  [OURS]: (streams: number) => measure((jobs) => createNodeHandler(jobs), streams || STREAMS),
}

/** A hand-made fan-out of the same statuses, without a bound, a check or an authorization. */
function serveBare(jobs: AfterJobs): RequestListener {
  const watchers = new Map<string, Set<ServerResponse>>()
  const follow = async (token: string, responses: Set<ServerResponse>): Promise<void> => {
    for await (const status of jobs.watch(token)) {
      for (const response of responses) response.write(`data: ${JSON.stringify(status)}\n\n`)
    }
    for (const response of responses) response.end()
  }
  return (request, response) => {
    const token = (request.url ?? '').slice(PREFIX.length)
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write(':\n\n')
    const responses = watchers.get(token) ?? new Set()
    responses.add(response)
    if (!watchers.has(token)) void follow(token, responses)
    watchers.set(token, responses)
  }
}

async function measure(makeListener: (jobs: AfterJobs) => RequestListener, streams: number): Promise<Figures> {
  const cache = memoryCache()
  const work = await startJobs(cache, Math.min(TOKENS, streams))
  const { counted, countReads } = countingCache(cache)
  const server = createServer(makeListener(createAfterJobs({ cache: counted })))
  // As many as there are come within a second.
  await once(server.listen({ port: 0, host: '127.0.0.1', backlog: streams }), 'listening')
  const before = memoryNow()
  const { port } = server.address() as AddressInfo
  const clients = fork(import.meta.filename, ['--clients', String(port), String(streams), work.tokens.join()])
  await once(clients, 'message')
  const after = memoryNow()
  const start = { reads: countReads(), cpu: process.cpuUsage(), at: performance.now() }
  work.move()
  await sleep(WINDOW)
  const took = performance.now() - start.at
  const { user, system } = process.cpuUsage(start.cpu)
  const reads = (countReads() - start.reads) / (work.tokens.length * (took / INTERVAL))
  work.end()
  const seen = await resultOf(clients)
  return {
    bytesPerStream: (after.held - before.held) / streams,
    residentPerStream: (after.resident - before.resident) / streams,
    endedWell: seen.endedWell / streams,
    reads,
    cpu: (user + system) / 1000 / took,
    delays: seen.delays,
  }
}

/** Starts the jobs on a runtime of their own, as another process would: the server's learns of them by reading. */
async function startJobs(cache: JobCache, count: number) {
  const jobs = createAfterJobs({ cache: { ...cache }, queue: memoryQueue({ concurrency: count }) })
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const bars: { set(percent: number): void }[] = []
  class ImportService extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, _token: string, bar: { set(percent: number): void }): Promise<void> {
      bars.push(bar)
      return ended
    }
  }
  const ids = Array.from({ length: count }, (_, id) => id)
  const tokens = await new ImportService().executeJobs('after', 'create', ids)
  while (bars.length < count) await sleep(10)
  let percent = 0
  const move = (): void => {
    percent++
    for (const bar of bars) bar.set(percent)
    setTimeout(move, INTERVAL).unref()
  }
  return { tokens, move, end }
}

/** A cache that processes share, and how often it was read. */
function countingCache(cache: JobCache): { counted: JobCache; countReads: () => number } {
  const { immediate: _, ...distant } = cache
  let reads = 0
  const read: JobCache['read'] = (token) => {
    reads++
    return cache.read(token)
  }
  return { counted: { ...distant, read, isLocal: false }, countReads: () => reads }
}

function memoryNow(): { held: number; resident: number } {
  globalThis.gc?.()
  globalThis.gc?.()
  const { heapUsed, external, rss } = process.memoryUsage()
  return { held: heapUsed + external, resident: rss }
}

async function resultOf(clients: ChildProcess): Promise<Seen> {
  const [seen] = (await once(clients, 'message')) as [Seen]
  clients.kill()
  return seen
}

/** Follows the streams in this process; tells when all have begun, and what they saw when all have ended. */
async function runClients(port: number, streams: number, tokens: readonly string[]): Promise<void> {
  const delays: number[] = []
  let [begun, ended, endedWell] = [0, 0, 0]
  const onEnd = (isWell: boolean): void => {
    if (isWell) endedWell++
    if (++ended < streams) return
    process.send?.({ endedWell, delays: [quantile(delays, 0.5), quantile(delays, 0.99)] } satisfies Seen)
  }
  const follow = (token: string): Promise<unknown> => {
    const socket = connect(port, '127.0.0.1')
    let last: JobStatus | undefined
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      if (last === undefined && text === '' && ++begun === streams) process.send?.('begun')
      text = (text + chunk).slice(-2_000)
      const events = text.split('\n\n')
      text = events.pop() ?? ''
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event)?.[1]
        if (data === undefined) continue
        last = JSON.parse(data) as JobStatus
        if (last.status === 'running' && last.progress > 0) delays.push(Date.now() - last.updatedAt)
      }
    })
    socket.on('close', () => onEnd(last?.status === 'done')).on('error', () => {})
    socket.write(`GET ${PREFIX}${token} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`)
    return once(socket, 'connect')
  }
  for (let index = 0; index < streams; index++) await follow(tokens[index % tokens.length] ?? '')
}

async function main(): Promise<void> {
  checkBuild()
  const samples = new Map<string, Figures[]>(Object.keys(VARIANTS).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, figures] of samples) {
      figures.push(await measureVariant(import.meta.filename, name, 0, ['--expose-gc']))
    }
  }
  console.log(
    `${STREAMS} streams of ${TOKENS} jobs for ${WINDOW / 1000} s: median (middle half) of ${ROUNDS} processes\n`,
  )
  const bare = (samples.get(BARE) ?? []).map(({ bytesPerStream }) => bytesPerStream)
  const headings = [
    ...['server', 'bytes per stream', 'ratio', 'resident bytes per stream', 'streams with their end'],
    ...['reads per token and interval', 'CPU', 'delay, ms', 'delay p99, ms'],
  ]
  printTable(
    headings,
    [...samples].map(([name, own]) => rowOf(name, own, bare)),
  )
}

function rowOf(name: string, own: readonly Figures[], bare: readonly number[]): string[] {
  const bytes = own.map(({ bytesPerStream }) => bytesPerStream)
  const pick = (figure: (figures: Figures) => number, digits: number): string => show(own.map(figure), digits)
  return [
    ...[name, show(bytes, 0), show(ratios(bytes, bare), 2), pick((figures) => figures.residentPerStream, 0)],
    ...[pick((figures) => figures.endedWell, 3), pick(({ reads }) => reads, 2), pick(({ cpu }) => cpu, 2)],
    ...[pick(({ delays }) => delays[0], 0), pick(({ delays }) => delays[1], 0)],
  ]
}

const [flag, port, streams, tokens = ''] = process.argv.slice(2)
if (flag === '--clients') await runClients(Number(port), Number(streams), tokens.split(','))
else await runBenchmark(VARIANTS, main)
