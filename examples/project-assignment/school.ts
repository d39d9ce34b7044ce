import { setTimeout } from 'node:timers/promises'

export type Row<D extends object> = D & { readonly id: number }

/** A table in memory, with the latency of a database. */
export class Table<D extends object> {
  readonly #rows = new Map<number, Row<D>>()
  #lastId = 0

  constructor(rows: readonly D[] = []) {
    for (const row of rows) this.#add(row)
  }

  async insert(data: D): Promise<Row<D>> {
    await latency()
    return this.#add(data)
  }

  async find(id: number): Promise<Row<D> | undefined> {
    await latency()
    return this.#rows.get(id)
  }

  async where(condition: Partial<D>): Promise<Row<D>[]> {
    await latency()
    const entries = Object.entries(condition)
    return [...this.#rows.values()].filter((row) => entries.every(([key, value]) => Reflect.get(row, key) === value))
  }

  async remove(ids: readonly number[]): Promise<void> {
    await latency()
    for (const id of ids) this.#rows.delete(id)
  }

  #add(data: D): Row<D> {
    this.#lastId++
    const row = { ...data, id: this.#lastId }
    this.#rows.set(row.id, row)
    return row
  }
}

function latency(): Promise<void> {
  return setTimeout(25)
}

export interface Assignment {
  readonly projectId: number
  readonly groupId: number
}

/** A training school: its projects and learners, and what an assignment of a project to a group brings into being. */
export class School {
  readonly projects = new Table<{ title: string }>([{ title: 'A loan desk for the town library' }])
  readonly tasks = new Table<{ projectId: number; title: string; points: number }>(TASKS)
  readonly groups = new Table<{ name: string }>([{ name: 'Web developers, class of 2026' }])
  readonly learners = new Table<{ groupId: number; name: string }>(LEARNERS)
  readonly assignments = new Table<Assignment>()
  readonly taskAssignments = new Table<{ assignmentId: number; taskId: number }>()
  readonly realisations = new Table<{ assignmentId: number; learnerId: number }>()
  readonly evaluations = new Table<{ realisationId: number; maximum: number }>()
}

const TASKS = [
  { projectId: 1, title: 'Interview the librarians', points: 5 },
  { projectId: 1, title: 'Write the user stories', points: 8 },
  { projectId: 1, title: 'Sketch the screens', points: 6 },
  { projectId: 1, title: 'Model the data', points: 10 },
  { projectId: 1, title: 'Set up the repository and its checks', points: 5 },
  { projectId: 1, title: 'Build the search in the catalogue', points: 14 },
  { projectId: 1, title: 'Build lending and returning', points: 16 },
  { projectId: 1, title: 'Send reminders for overdue books', points: 10 },
  { projectId: 1, title: 'Watch two librarians use it', points: 6 },
  { projectId: 1, title: 'Mend what they stumbled over', points: 6 },
  { projectId: 1, title: 'Install it on the library’s server', points: 6 },
  { projectId: 1, title: 'Present it to the town council', points: 8 },
]

const LEARNERS = [
  { groupId: 1, name: 'Amina Berrada' },
  { groupId: 1, name: 'Youssef El Amrani' },
  { groupId: 1, name: 'Salma Tazi' },
  { groupId: 1, name: 'Omar Idrissi' },
  { groupId: 1, name: 'Lina Haddad' },
  { groupId: 1, name: 'Karim Naciri' },
  { groupId: 1, name: 'Sofia Benali' },
  { groupId: 1, name: 'Mehdi Alaoui' },
  { groupId: 1, name: 'Nora Chraibi' },
]
