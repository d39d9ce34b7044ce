import { JobError } from './errors'

/** The lock of a job that processes share, and the signal that tells of its loss. */
export class Lock {
  isLost = false
  #controller: AbortController | undefined

  /** Made on demand, because it costs more than the rest of a delivery. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.isLost) this.#controller.abort(taken())
    return this.#controller.signal
  }

  lose(): void {
    this.isLost = true
    this.#controller?.abort(taken())
  }
}

function taken(): JobError {
  return new JobError('The job was given to another worker')
}
