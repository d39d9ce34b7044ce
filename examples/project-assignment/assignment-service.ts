import { createAfterJobs, JobError, type ProgressReporter, withAfterJobs } from 'after-jobs'
import type { Assignment, Row, School, Table } from './school'

export const jobs = createAfterJobs()

/** Any CRUD base class will do; this one knows nothing of jobs. */
class CrudService<D extends object> {
  protected readonly table: Table<D>

  constructor(table: Table<D>) {
    this.table = table
  }

  create(data: D): Promise<Row<D>> {
    return this.table.insert(data)
  }

  find(id: number): Promise<Row<D> | undefined> {
    return this.table.find(id)
  }

  async delete(id: number): Promise<void> {
    await this.table.remove([id])
  }
}

/** Assigns projects to groups. `create()` answers at once; what every learner needs is made in the background. */
export class AssignmentService extends withAfterJobs(CrudService<Assignment>, { jobs, auto: ['create'] }) {
  readonly #school: School

  constructor(school: School) {
    super(school.assignments)
    this.#school = school
  }

  /** Prepares an assignment again, for example for learners who joined the group later. Answers the job's token. */
  prepare(id: number): Promise<string | undefined> {
    return this.executeJob('after', 'create', id)
  }

  async afterCreateJob(id: number, _token: string, progress: ProgressReporter) {
    const assignment = await this.find(id)
    if (!assignment) throw new JobError(`Assignment ${id} does not exist.`)
    const tasks = await this.#assignTasks(assignment, progress.split(40))
    const realisations = await this.#createRealisations(assignment, progress.split(30))
    const evaluations = await this.#syncEvaluations(assignment, progress.split(30))
    return { result: { tasks, realisations, evaluations } }
  }

  /** Whatever ended the job, nothing half-made is left behind. */
  async afterCreateJobFailed(id: number, _token: string, error: Error) {
    const { taskAssignments, realisations, evaluations } = this.#school
    const tasks = await taskAssignments.where({ assignmentId: id })
    const begun = await realisations.where({ assignmentId: id })
    const sheets = await Promise.all(begun.map((realisation) => evaluations.where({ realisationId: realisation.id })))
    await evaluations.remove(sheets.flat().map((sheet) => sheet.id))
    await realisations.remove(begun.map((realisation) => realisation.id))
    await taskAssignments.remove(tasks.map((task) => task.id))
    console.log(`Undone after “${error.message}”: ${tasks.length} tasks, ${begun.length} realisations.`)
  }

  async #assignTasks({ id: assignmentId, projectId }: Row<Assignment>, progress: ProgressReporter): Promise<number> {
    const tasks = await this.#school.tasks.where({ projectId })
    for await (const task of progress.each(tasks)) {
      progress.label(`Task: ${task.title}`)
      await ensure(this.#school.taskAssignments, { assignmentId, taskId: task.id })
    }
    return tasks.length
  }

  async #createRealisations({ id: assignmentId, groupId }: Row<Assignment>, progress: ProgressReporter) {
    const learners = await this.#school.learners.where({ groupId })
    for await (const learner of progress.each(learners)) {
      progress.label(`Learner: ${learner.name}`)
      await ensure(this.#school.realisations, { assignmentId, learnerId: learner.id })
    }
    return learners.length
  }

  async #syncEvaluations({ id: assignmentId, projectId }: Row<Assignment>, progress: ProgressReporter) {
    progress.label('Synchronising the evaluations')
    const tasks = await this.#school.tasks.where({ projectId })
    const maximum = tasks.reduce((sum, task) => sum + task.points, 0)
    const realisations = await this.#school.realisations.where({ assignmentId })
    for await (const { id: realisationId } of progress.each(realisations)) {
      await ensure(this.#school.evaluations, { realisationId, maximum })
    }
    return realisations.length
  }
}

/** Inserts a row unless it is there: a job may run twice. */
async function ensure<D extends object>(table: Table<D>, data: D): Promise<void> {
  const [existing] = await table.where(data)
  if (!existing) await table.insert(data)
}
