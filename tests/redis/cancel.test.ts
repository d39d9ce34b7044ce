import { testCancel } from '../crew/suites/cancel'
import { redisEngine } from './support/engine'

testCancel(redisEngine)
