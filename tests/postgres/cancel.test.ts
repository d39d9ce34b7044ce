import { testCancel } from '../crew/suites/cancel'
import { postgresEngine } from './support/engine'

testCancel(postgresEngine)
