import { EventEmitter } from 'node:events'
import { Writable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { joinWrites } from '../../src/redis/joined-writes'

/** A connection over a stream that notes what is written at once, in how many commands. */
class Recorded extends EventEmitter {
  readonly writes: string[][] = []
  readonly stream = new Writable({
    decodeStrings: false,
    write: (chunk, _encoding, done) => {
      this.writes.push([chunk])
      done()
    },
    writev: (chunks, done) => {
      this.writes.push(chunks.map(({ chunk }) => chunk))
      done()
    },
  })

  constructor() {
    super()
    joinWrites(this)
    this.emit('connect')
  }

  send(count: number): string[] {
    const commands = Array.from({ length: count }, (_, index) => `command ${index}`)
    for (const command of commands) this.stream.write(command)
    return commands
  }
}

describe('joinWrites', () => {
  test.each([
    [1, [1]],
    [2, [2]],
    [3, [2, 1]],
    [10, [2, 4, 4]],
    [50, [2, 4, 8, 16, 16, 4]],
  ])('sends %i commands of a turn by %j, in order', async (count, sizes) => {
    const connection = new Recorded()
    const commands = connection.send(count)
    await setImmediate()
    expect(connection.writes.map(({ length }) => length)).toEqual(sizes)
    expect(connection.writes.flat()).toEqual(commands)
  })

  test('begins anew with each turn, and joins what later microtasks of one send', async () => {
    const connection = new Recorded()
    connection.send(7)
    await setImmediate()
    connection.writes.length = 0
    connection.send(1)
    await Promise.resolve()
    connection.send(1)
    await setImmediate()
    expect(connection.writes).toEqual([['command 0', 'command 0']])
  })

  test('sends a long turn before it is over', () => {
    const connection = new Recorded()
    connection.send(2)
    expect(connection.writes).toHaveLength(1)
  })

  test('joins those of the next socket, too', async () => {
    const connection = new Recorded()
    const stream = new Writable({ write: (_chunk, _encoding, done) => done() })
    Object.assign(connection, { stream })
    connection.emit('connect')
    connection.send(1)
    expect(stream.writableCorked).toBe(1)
    await setImmediate()
    expect(stream.writableCorked).toBe(0)
  })
})
