import { testDedupe } from '../crew/suites/dedupe'
import { postgresEngine } from './support/engine'

testDedupe(postgresEngine)
