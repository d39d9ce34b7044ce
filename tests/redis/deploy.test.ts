import { type Job, Queue } from 'bullmq'
import { expect, test, vi } from 'vitest'
import type { Finisher } from '../crew/shared-engine'
import { until } from '../crew/until'
import { makeService } from '../engine/support/runtime'
import { openNeighbours, type RedisNeighbours } from './support/neighbours'
import { describeWithRedis, useRedis } from './support/suite'

describeWithRedis('in a rolling deploy', {}, () => {
  const redis = useRedis()

  /** Answers the job as BullMQ keeps it, once it has been made due where it was handed back with a delay. */
  function openHurry({ onTestFinished }: Finisher, { queuePrefix: prefix }: RedisNeighbours, token: string) {
    const queue = new Queue('after-jobs', { connection: { url: redis.url }, prefix })
    onTestFinished(() => queue.close())
    return async () => {
      const job = (await queue.getJob(token)) as Job
      // Somebody may be faster.
      if (await job.isDelayed()) await job.promote().catch(() => {})
      return job
    }
  }

  test.for(['hook', 'service'])(
    'a worker that lacks the %s leaves the job to one that has it',
    async (what, context) => {
      const hook = vi.fn()
      const neighbours = openNeighbours(context, redis)
      const web = neighbours.add({ afterUpdateJob: hook })
      const [old, young] = [neighbours.add({ afterCreateJob() {} }), neighbours.add({ afterUpdateJob: hook })]
      const novel = makeService(web.jobs, { afterUpdateJob: hook }, 'novel')
      young.jobs.register('novel', () => novel)
      const service = what === 'hook' ? web.service : novel
      const token = (await service.executeJob('after', 'update', 1, { attempts: 2 })) as string
      const hurry = openHurry(context, neighbours, token)

      old.jobs.work()
      await until('job that was taken three times', async () => (await hurry()).attemptsStarted >= 3)
      expect(await web.jobs.status(token)).toMatchObject({ status: 'pending', progress: 0, attempt: 0, code: null })
      // The old worker goes on, and may take it once more.
      young.jobs.work()
      await until('end', async () => (await hurry()).finishedOn)
      expect(await web.jobs.status(token)).toMatchObject({ status: 'done', attempt: 1, attempts: 2 })
      expect(hook).toHaveBeenCalledOnce()
      const refusals = old.logger.lines.filter(({ message }) => message.includes('no such service or hook'))
      expect(refusals).toHaveLength(1)
    },
  )
})
