import { postgresSchema } from 'after-jobs/postgres'
import { Client } from 'pg'
import type { Witness } from '../../crew/chaos'

interface Sight {
  readonly token: string
  readonly status: string
  readonly version: number
}

/** What the database itself writes down of each write, in the transaction of that write: what was rolled back was none. */
const LOG = `
  CREATE TABLE sights (id bigserial PRIMARY KEY, token uuid, prefix text, status text, version integer);
  CREATE FUNCTION note_sight() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO sights (token, prefix, status, version) VALUES (NEW.token, NEW.prefix, NEW.status, NEW.version);
      RETURN NULL;
    END
  $$;
  CREATE TRIGGER note_sight AFTER INSERT OR UPDATE ON after_jobs_status FOR EACH ROW EXECUTE FUNCTION note_sight();`

/** Sees every write of a status, in the order in which PostgreSQL carried them out, and shares no code with those who write. */
export class PostgresWitness implements Witness {
  faults: readonly string[] = []
  writes = 0
  readonly #url: string
  readonly #prefix: string

  private constructor(url: string, prefix: string) {
    this.#url = url
    this.#prefix = prefix
  }

  static async open(url: string, prefix: string): Promise<PostgresWitness> {
    const witness = new PostgresWitness(url, prefix)
    await witness.#ask((client) => client.query(`BEGIN; ${postgresSchema()} COMMIT; ${LOG}`))
    return witness
  }

  async look(): Promise<void> {
    const text = 'SELECT token, status, version FROM sights WHERE prefix = $1 ORDER BY id'
    const { rows } = await this.#ask((client) => client.query<Sight>(text, [this.#prefix]))
    this.writes = rows.length
    this.faults = judge(rows)
  }

  async close(): Promise<void> {}

  async #ask<T>(question: (client: Client) => Promise<T>): Promise<T> {
    const client = new Client({ connectionString: this.#url })
    await client.connect()
    try {
      return await question(client)
    } finally {
      await client.end()
    }
  }
}

/** Each version is written once, one after the other, and none after an end. */
function judge(sights: readonly Sight[]): string[] {
  const faults: string[] = []
  const last = new Map<string, Sight>()
  for (const sight of sights) {
    const { token, status, version } = sight
    const before = last.get(token)
    last.set(token, sight)
    if (before === undefined) continue
    if (before.status === 'done' || before.status === 'error') {
      faults.push(`${token}: ${before.status} (${before.version}) became ${status} (${version})`)
    }
    if (version !== before.version + 1) faults.push(`${token}: version ${version} came after ${before.version}`)
  }
  return faults
}
