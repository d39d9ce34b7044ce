import { setTimeout as pause } from 'node:timers/promises'
import type { ProgressReporter } from 'after-jobs'
import { ImportService } from '../import-cities/import-service'

const PACKETS = 80

/** Imports cities that come from far away: else a country is done before anyone has seen a bar. */
export class RemoteImportService extends ImportService {
  readonly #seconds: number

  constructor(seconds: number) {
    super()
    this.#seconds = seconds
  }

  override async afterCreateJob(id: number, token: string, progress: ProgressReporter) {
    await this.#download(progress.split(80, 'Downloading the cities'))
    return super.afterCreateJob(id, token, progress.split(20))
  }

  async #download(progress: ProgressReporter): Promise<void> {
    for await (const _ of progress.each(Array(PACKETS).keys(), PACKETS)) {
      await pause((this.#seconds * 1000) / PACKETS, undefined, { signal: progress.signal })
    }
  }
}
