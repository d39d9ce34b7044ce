/**
 * How many statuses a second does the node face answer, beside a bare `node:http` server that looks a Map up and stringifies
 * the same object? Each server has a process of its own, and the client another; they take turns, so that a busy machine is
 * as busy for the one as for the other, and are started anew a few times, since one process is luckier than the next.
 *
 * Run `npm run bench -- http.ts`, with `--quick` for a short form.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type OutgoingHttpHeaders, type RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { type AfterJobs, createAfterJobs, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { createNodeHandler, type JobHandlerOptions, type NodeRequest } from 'after-jobs/http'
import { checkBuild, IS_QUICK, printTable, ratios, show } from './rounds'

const STARTS = IS_QUICK ? 1 : 5
const ROUNDS = IS_QUICK ? 5 : 8
/** Milliseconds. */
const WARM_UP = IS_QUICK ? 500 : 1500
const WINDOW = IS_QUICK ? 250 : 400
const CONNECTIONS = 50
const PREFIX = '/jobs/status/'

/** What a server tells about itself: where its status is, and the status itself. */
interface Ready extends Shown {
  port: number
}

/** A status, and the token that leads to it. */
interface Shown {
  token: string
  body: string
}

/** What a server is made of: how it answers, and the token that it answers to. */
type Made = [RequestListener, string]

/** The servers, each made in its own process, for the status that the runtime of ours shows. */
const SERVERS: Record<string, (shown: Shown) => Promise<Made>> = {
  'bare node:http': async (shown) => bare(shown, (length) => ({ 'Content-Type': JSON_TYPE, 'Content-Length': length })),
  'bare, with the headers of ours': async (shown) =>
    bare(shown, (length) => ({
      'Content-Type': JSON_TYPE,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'Retry-After': '1',
      'Content-Length': length,
    })),
  'createNodeHandler on a Map': async (shown) => onMap(shown),
  createNodeHandler: () => onRuntime({}),
  'createNodeHandler, authorize': () => onRuntime({ authorize: async (_, { context }) => context === 'ada' }),
}
const BARE = 'bare node:http'
const OURS = 'createNodeHandler'
const JSON_TYPE = 'application/json; charset=utf-8'

function bare({ token, body }: Shown, headers: (length: number) => OutgoingHttpHeaders): Made {
  const statuses = new Map<string, object>([[token, JSON.parse(body)]])
  const listener: RequestListener = (request, response) => {
    const text = JSON.stringify(statuses.get((request.url ?? '').slice(PREFIX.length)))
    response.writeHead(200, headers(Buffer.byteLength(text)))
    response.end(text)
  }
  return [listener, token]
}

/** The face alone: what it costs apart from the runtime behind it. */
function onMap({ token, body }: Shown): Made {
  const records = new Map([[token, { ...JSON.parse(body), context: 'ada' }]])
  const jobs: Pick<AfterJobs, 'record'> = { record: async (asked) => records.get(asked) }
  return [createNodeHandler(jobs as AfterJobs), token]
}

/** The face on a runtime, with a job that runs until the benchmark is over. */
async function onRuntime(options: JobHandlerOptions<NodeRequest>): Promise<Made> {
  const jobs = createAfterJobs({ context: { capture: () => 'ada' } })
  class ImportService extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, _token: string, progress: ProgressReporter): Promise<void> {
      progress.label('Assigning the tasks of the project')
      progress.set(42)
      return new Promise(() => {})
    }
  }
  const token = (await new ImportService().executeJob('after', 'create', 1)) as string
  for await (const status of jobs.watch(token)) if (status.progress === 42) break
  return [createNodeHandler(jobs, options), token]
}

async function serve(name: string): Promise<void> {
  const shown: Shown = JSON.parse(process.argv[4] ?? 'null')
  const make = SERVERS[name]
  if (make === undefined) throw new Error(`There is no server '${name}'.`)
  const [listener, token] = await make(shown)
  // A server waits for its turn for longer than the five seconds after which it would close an idle connection.
  const server = createServer({ keepAliveTimeout: 0 }, listener)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const body = await (await fetch(`http://127.0.0.1:${port}${PREFIX}${token}`)).text()
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send?.(user + system)
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ port, token, body } satisfies Ready)
}

interface Child {
  name: string
  process: ChildProcess
  client: Client
}

/** One window of one server. */
interface Sample {
  perSecond: number
  /** Microseconds of the server's processor per request. */
  cost: number
}

/** Starts every server; ours first, so that the others can show the same status. */
async function startAll(): Promise<Child[]> {
  const first = await start(OURS, null)
  const children = [first.child]
  for (const name of Object.keys(SERVERS)) {
    if (name !== OURS) children.push((await start(name, { token: first.token, body: first.body })).child)
  }
  return children
}

async function start(name: string, shown: Shown | null): Promise<Shown & { child: Child }> {
  const child = fork(import.meta.filename, ['--serve', name, JSON.stringify(shown)])
  const [ready] = (await once(child, 'message')) as [Ready]
  return { ...ready, child: { name, process: child, client: await openClient(ready) } }
}

/** Loads a server for a while, and leaves none of its requests unanswered. */
async function measure({ process: child, client }: Child, ms: number): Promise<Sample> {
  child.send('cpu')
  const [before] = (await once(child, 'message')) as [number]
  const start = performance.now()
  const count = await client.run(ms)
  const seconds = (performance.now() - start) / 1000
  child.send('cpu')
  const [after] = (await once(child, 'message')) as [number]
  return { perSecond: count / seconds, cost: (after - before) / count }
}

interface Client {
  /** Keeps one request under way on each connection for `ms` milliseconds; resolves with the number of answers. */
  run(ms: number): Promise<number>
  close(): void
}

async function openClient({ port, token, body }: Ready): Promise<Client> {
  const request = `GET ${PREFIX}${token} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`
  const sockets = Array.from({ length: CONNECTIONS }, () => connect({ port, host: '127.0.0.1', noDelay: true }))
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  let state = { count: 0, open: 0, isOver: true, end: (_: number): void => {} }
  const onAnswer = (socket: Socket, chunk: Buffer): void => {
    // With one request at a time a chunk is an answer; anything else would spoil the count without a word.
    if (chunk.length - chunk.indexOf('\r\n\r\n') - 4 !== Buffer.byteLength(body))
      throw new Error(`Odd answer: ${chunk}`)
    state.count += 1
    if (!state.isOver) socket.write(request)
    else if (--state.open === 0) state.end(state.count)
  }
  for (const socket of sockets) socket.on('data', (chunk) => onAnswer(socket, chunk))
  const run = (ms: number): Promise<number> =>
    new Promise((end) => {
      state = { count: 0, open: CONNECTIONS, isOver: false, end }
      for (const socket of sockets) socket.write(request)
      setTimeout(() => {
        state.isOver = true
      }, ms)
    })
  return { run, close: () => sockets.forEach((socket) => void socket.destroy()) }
}

function printSamples(samples: Map<string, Sample[]>): void {
  const of = (name: string, figure: keyof Sample): number[] => (samples.get(name) ?? []).map((sample) => sample[figure])
  const rows = Object.keys(SERVERS).map((name) => {
    const [perSecond, cost] = [of(name, 'perSecond'), of(name, 'cost')]
    const [rates, costs] = [ratios(perSecond, of(BARE, 'perSecond')), ratios(cost, of(BARE, 'cost'))]
    return [name, show(perSecond, 0), show(rates, 2), `${show(cost, 1)} µs`, show(costs, 2)]
  })
  console.log(`Node ${process.version}: median of ${STARTS * ROUNDS} windows (middle half), ${STARTS} processes\n`)
  printTable(['server', 'statuses/s', 'ratio', 'CPU per status', 'ratio'], rows)
}

async function main(): Promise<void> {
  checkBuild()
  const samples = new Map<string, Sample[]>(Object.keys(SERVERS).map((name) => [name, []]))
  for (let starts = 0; starts < STARTS; starts++) {
    const children = await startAll()
    for (const child of children) await measure(child, WARM_UP)
    for (let round = 0; round < ROUNDS; round++) {
      for (const child of children) samples.get(child.name)?.push(await measure(child, WINDOW))
    }
    for (const { client, process: child } of children) {
      client.close()
      child.disconnect()
    }
  }
  printSamples(samples)
}

if (process.argv[2] === '--serve') await serve(process.argv[3] ?? '')
else await main()
