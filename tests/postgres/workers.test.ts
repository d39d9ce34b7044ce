import { testWorkers } from '../crew/suites/workers'
import { postgresEngine } from './support/engine'

testWorkers(postgresEngine)
