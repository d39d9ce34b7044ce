import { testLife } from '../crew/suites/life'
import { postgresEngine } from './support/engine'

testLife(postgresEngine)
