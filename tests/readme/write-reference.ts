import { readFileSync, writeFileSync } from 'node:fs'
import { withReference } from './reference'

writeFileSync('README.md', withReference(readFileSync('README.md', 'utf8')))
