import { testLife } from '../crew/suites/life'
import { redisEngine } from './support/engine'

testLife(redisEngine)
