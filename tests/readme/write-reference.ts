import { writeFileSync } from 'node:fs'
import { REFERENCE, writeReference } from './reference'

writeFileSync(REFERENCE, writeReference())
