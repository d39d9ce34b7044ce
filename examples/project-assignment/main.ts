// A project is assigned to a group of learners; what each of them needs is made in the background.
// Run it after a build: npx tsx --tsconfig examples/tsconfig.json examples/project-assignment/main.ts
import type { JobStatus } from 'after-jobs'
import { createBar, formatTable } from '../terminal'
import { AssignmentService, jobs } from './assignment-service'
import { School } from './school'

const school = new School()
const service = new AssignmentService(school)

async function main(): Promise<void> {
  const assignment = await service.create({ projectId: 1, groupId: 1 })
  console.log(`Assignment ${assignment.id} is created; its job has begun.`)
  const done = await follow(service.getJobToken(assignment))
  if (done.status !== 'done') throw new Error(`The job ended as ${done.status}: ${done.message}`)
  console.log('Result:', done.result)
  console.log(await summarise(assignment.id))

  await service.delete(assignment.id)
  console.log(`\nAssignment ${assignment.id} is deleted, and then prepared again by mistake.`)
  const failed = await follow(await service.prepare(assignment.id))
  console.log(`The user reads: ${failed.message}`)
  // The status is final as soon as the hook has ended; the compensation that follows it belongs to the job, too.
  await jobs.drain()
  console.log(`Realisations left behind: ${(await school.realisations.where({ assignmentId: assignment.id })).length}`)
  if (failed.status !== 'error') throw new Error('An assignment that does not exist was prepared.')
}

/** Shows a job until it ends. In the process of the job no HTTP is needed. */
async function follow(token = ''): Promise<JobStatus> {
  const showBar = createBar()
  for await (const status of jobs.watch(token)) showBar(status)
  return jobs.status(token)
}

async function summarise(assignmentId: number): Promise<string> {
  const tasks = await school.taskAssignments.where({ assignmentId })
  const realisations = await school.realisations.where({ assignmentId })
  const rows = realisations.map(async ({ id, learnerId }) => {
    const [learner, [evaluation]] = await Promise.all([
      school.learners.find(learnerId),
      school.evaluations.where({ realisationId: id }),
    ])
    return { learner: learner?.name ?? '', tasks: tasks.length, 'points to reach': evaluation?.maximum ?? 0 }
  })
  return formatTable(await Promise.all(rows))
}

main().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
