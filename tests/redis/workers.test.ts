import { testWorkers } from '../crew/suites/workers'
import { redisEngine } from './support/engine'

testWorkers(redisEngine)
