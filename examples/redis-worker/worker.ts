// A worker process: runs jobs, whoever started them. On a server, the command `after-jobs work` does the same.
import { AlbumService, jobs } from './album-service'

const name = process.argv[2] ?? 'worker'

jobs.register(AlbumService, () => new AlbumService(name))
jobs.on('started', () => process.send?.('started'))
jobs.work()

process.once('disconnect', () => void jobs.close())
