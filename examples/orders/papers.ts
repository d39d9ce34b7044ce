import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What a shop has on paper: invoices, which can be torn up, and mails, which cannot be called back. */
export class Papers {
  readonly #folder: string
  #lastMail = 0

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** Makes two empty folders. */
  static async open(): Promise<Papers> {
    const folder = await mkdtemp(join(tmpdir(), 'orders-'))
    await mkdir(join(folder, 'invoices'))
    await mkdir(join(folder, 'mails'))
    return new Papers(folder)
  }

  /** Writes an invoice; the second one of an order replaces the first. */
  async writeInvoice(orderId: number, text: string): Promise<void> {
    await writeFile(this.#invoice(orderId), text)
  }

  async tearUpInvoice(orderId: number): Promise<void> {
    await rm(this.#invoice(orderId), { force: true })
  }

  /** Sends a mail. Each is a file of its own, so that one that is sent twice shows. */
  async sendMail(orderId: number, text: string): Promise<void> {
    this.#lastMail++
    await writeFile(join(this.#folder, 'mails', `${orderId}-${this.#lastMail}.txt`), text)
  }

  /** The numbers of the orders that have an invoice, or a mail: one for each file. */
  async list(kind: 'invoices' | 'mails'): Promise<number[]> {
    const files = await readdir(join(this.#folder, kind))
    return files.map((file) => Number.parseInt(file, 10))
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true })
  }

  #invoice(orderId: number): string {
    return join(this.#folder, 'invoices', `${orderId}.txt`)
  }
}
