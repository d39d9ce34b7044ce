import { testDedupe } from '../crew/suites/dedupe'
import { redisEngine } from './support/engine'

testDedupe(redisEngine)
