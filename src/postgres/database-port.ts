/** A database as queue and cache use it. Caches and queues of one process share what has the same URL or folder. */
export interface Database {
  /** Opens a database in this process, which may take half a minute the first time. Nothing is to be done for a server. */
  ready(): Promise<void>

  /**
   * Runs a statement, or without `values` several of them, whose rows are then told one after the other. Rejects after
   * `limit` milliseconds, by default 30,000, except that an embedded database is waited for. Under a `name`, which belongs to
   * this one text, connections keep it prepared: right for what is asked all the time, and by an index for certain.
   */
  query<R>(text: string, values?: readonly unknown[], limit?: number, name?: string): Promise<{ rows: R[] }>

  /**
   * Hears what is notified on a channel until it is closed, and connects again by itself. Whenever it begins to hear, it
   * gives the empty notice: something may have been missed. Tells once of each outage.
   */
  listen(channel: string, onNotice: (payload: string) => void, onTrouble: (error: Error) => void): Listening

  /** Closes what was opened here, and nobody else uses. May be called twice. */
  close(): Promise<void>
}

/** A channel that is listened to. */
export interface Listening {
  /**
   * Runs a statement on the connection that listens, for which nobody waits who holds those of a pool; answers `undefined`
   * where there is none at the moment. Absent where there are no others.
   */
  query?<R>(text: string, values?: readonly unknown[]): Promise<R[]> | undefined

  close(): Promise<void>
}
