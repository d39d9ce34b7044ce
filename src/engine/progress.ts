import type { ProgressReporter } from '../core/hook'
import { cleanText, type ProgressState } from '../core/status'
import { nextTurn } from '../core/timer'
import { countOf, interruptible } from './interruption'

/** What a reporter needs of its run. */
export interface ProgressHost {
  readonly signal: AbortSignal
  /** Whether `signal` is aborted, told without making a signal that nobody asked for. */
  readonly isAborted: boolean
  /** Is called after each change; it must cost next to nothing. */
  touch(): void
}

/** What the bar of a run and all its parts have in common. */
export interface BarRoot {
  label: string | null
  /** When a loop over `each` last gave the event loop a turn: one clock for all loops, however short they are. */
  turnStart: number
  /** All that were counted. */
  ticks: number
}

/** What the bars of one hook have in common. */
export interface HookBars {
  /** The bar whose `each` was last given a turn: its step is the one under way. */
  inEach: ProgressBar | undefined
  /** The bar that last counted by hand. */
  counting?: ProgressBar
}

/** The longest that synchronous bodies in `each` keep the event loop waiting, in milliseconds. */
const TURN = 20
/** What a sum of fractions may lack of a whole percent: 29 of 100 ticks are 28.999999999999996 %. */
const EPSILON = 1e-9

/** The reporter of a run: arithmetic in memory, which knows no cache. */
export class ProgressBar implements ProgressReporter {
  readonly #host: ProgressHost
  readonly #root: BarRoot
  readonly #hook: HookBars
  #parts: { bar: ProgressBar; share: number }[] | undefined
  /** What the parts have taken of this bar, 0 to 1. */
  #taken = 0
  /** How far the rest of this bar is, 0 to 1. */
  #own = 0
  #total = 0
  #hasTotal = false
  #ticks = 0
  /** What runs inside the current step, until that is ticked off. */
  #step: ProgressBar | undefined

  constructor(
    host: ProgressHost,
    root: BarRoot = { label: null, turnStart: 0, ticks: 0 },
    hook: HookBars = { inEach: undefined },
  ) {
    this.#host = host
    this.#root = root
    this.#hook = hook
  }

  get signal(): AbortSignal {
    return this.#host.signal
  }

  total(count: number): void {
    this.#hasTotal = true
    this.#hook.counting = this
    this.#setTotal(toCount(count))
  }

  tick(count = 1): void {
    // The comparison is false for NaN, too.
    if (typeof count !== 'number' || !(count > 0)) return
    this.#ticks += count
    this.#root.ticks += count
    this.#hook.counting = this
    this.#step = undefined
    if (this.#total > 0) this.#own = Math.min(1, this.#ticks / this.#total)
    this.#host.touch()
  }

  set(percent: number): void {
    this.#own = toFraction(percent)
    this.#host.touch()
  }

  label(text: string): void {
    this.#root.label = cleanText(text)
    this.#host.touch()
  }

  split(percent: number, label?: string): ProgressReporter {
    const share = Math.min(toFraction(percent), 1 - this.#taken)
    const bar = new ProgressBar(this.#host, this.#root, this.#hook)
    this.#taken += share
    this.#parts ??= []
    this.#parts.push({ bar, share })
    if (label !== undefined) this.label(label)
    return bar
  }

  async *each<T>(items: Iterable<T> | AsyncIterable<T>, total?: number): AsyncGenerator<T, void, void> {
    if (!this.#hasTotal) this.#setTotal(this.#total + toCount(total ?? countOf(items)))
    if (this.#root.turnStart === 0) this.#root.turnStart = performance.now()
    const outer = this.#hook.inEach
    for await (const item of interruptible(items, this.#host)) {
      this.#throwIfAborted()
      yield* this.#giveStep(item, outer)
      if (performance.now() - this.#root.turnStart < TURN) continue
      await nextTurn()
      this.#root.turnStart = performance.now()
    }
    this.#throwIfAborted()
  }

  /** The body is one step of this bar, and of no other while it lasts. */
  *#giveStep<T>(item: T, outer: ProgressBar | undefined): Generator<T, void, void> {
    this.#hook.inEach = this
    try {
      yield item
    } finally {
      this.#hook.inEach = outer
    }
    this.tick()
  }

  /** Opens a bar of its own inside the current step of a bar or of its parts. */
  static openStep(bar: ProgressBar): ProgressBar {
    const step = new ProgressBar(bar.#host, bar.#root)
    const { inEach, counting } = bar.#hook
    // A part without steps, or that has counted all of them, has none to fill.
    const outer = inEach ?? (counting !== undefined && counting.#total > 0 && counting.#own < 1 ? counting : bar)
    outer.#step = step
    return step
  }

  /** Reads the whole percent, 0 to 100, and the newest label. Static, so that a hook finds only what it is to use. */
  static read(bar: ProgressBar): ProgressState {
    return { progress: Math.floor(100 * bar.#fraction() + EPSILON), label: bar.#root.label }
  }

  #fraction(): number {
    const step = this.#step === undefined || this.#total === 0 ? 0 : this.#step.#fraction() / this.#total
    let fraction = (1 - this.#taken) * Math.min(1, this.#own + step)
    if (this.#parts === undefined) return fraction
    for (const { bar, share } of this.#parts) fraction += share * bar.#fraction()
    return Math.min(1, fraction)
  }

  #setTotal(count: number): void {
    this.#total = count
    if (this.#total > 0 && this.#ticks > 0) this.#own = Math.min(1, this.#ticks / this.#total)
    this.#host.touch()
  }

  #throwIfAborted(): void {
    if (this.#host.isAborted) throw this.#host.signal.reason
  }
}

/** Reads a percentage as 0 to 1; what is no number is 0. */
function toFraction(percent: number): number {
  return typeof percent === 'number' && percent > 0 ? Math.min(100, percent) / 100 : 0
}

/** Reads a number of things; what is no number is none. */
function toCount(count: unknown): number {
  return Number.isFinite(count) ? Math.max(0, count as number) : 0
}
