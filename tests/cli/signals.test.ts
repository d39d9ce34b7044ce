import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { listenForSignals } from '../../src/cli/signals'

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }))
afterEach(() => void vi.useRealTimers())

test('a Ctrl-C that npm passes on is one stroke, and the next stroke is a second one', () => {
  const { target, exit } = fakeProcess()
  const stop = listenForSignals(target, true)
  expect(stop.aborted).toBe(false)
  target.emit('SIGINT', 'SIGINT')
  expect(stop).toMatchObject({ aborted: true, reason: 'SIGINT' })
  vi.advanceTimersByTime(20)
  target.emit('SIGINT', 'SIGINT')
  expect(exit).not.toHaveBeenCalled()
  vi.advanceTimersByTime(200)
  target.emit('SIGINT', 'SIGINT')
  expect(exit).toHaveBeenCalledExactlyOnceWith(130)
})

test('where there is no terminal, a second signal counts however soon it comes', () => {
  const { target, exit } = fakeProcess()
  const stop = listenForSignals(target, false)
  target.emit('SIGTERM', 'SIGTERM')
  expect(stop).toMatchObject({ aborted: true, reason: 'SIGTERM' })
  expect(exit).not.toHaveBeenCalled()
  target.emit('SIGINT', 'SIGINT')
  expect(exit).toHaveBeenCalledExactlyOnceWith(130)
})

function fakeProcess() {
  const exit = vi.fn<(code: number) => void>()
  return { target: Object.assign(new EventEmitter(), { exit }), exit }
}
