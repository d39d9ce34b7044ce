import { makeEnvelope } from '../engine/support/stub-queue'

type Fields = Record<string, unknown>

export const MEGABYTE = 'x'.repeat(1_000_000)

/** A message as a runtime writes it, without its token and with other fields. */
export function forge(fields: Fields = {}): Fields {
  const { token: _, ...sound } = makeEnvelope({ id: 'forged' })
  return { ...sound, ...fields }
}

/** A message that lacks one field. */
function forgeWithout(name: string): Fields {
  const message = forge()
  delete message[name]
  return message
}

/** What nobody can make sense of. */
export const MALFORMED: Readonly<Record<string, unknown>> = {
  'names a method that is no hook': forge({ hook: 'delete' }),
  'names the constructor': forge({ hook: 'constructor' }),
  'names the prototype': forge({ hook: '__proto__' }),
  'names the compensation': forge({ hook: 'afterCreateJobFailed' }),
  'has a list as its hook': forge({ hook: ['afterCreateJob'] }),
  'has no hook': forgeWithout('hook'),
  'has no service': forgeWithout('service'),
  'has no id': forgeWithout('id'),
  'has no version': forgeWithout('version'),
  'has no time': forgeWithout('createdAt'),
  'is of a version that is none': forge({ version: 'one' }),
  'has a payload of a megabyte': forge({ payload: MEGABYTE }),
  'has a context of a megabyte': forge({ context: { user: MEGABYTE } }),
  'has an object as its id': forge({ id: { toString: 'x' } }),
  'wants a million attempts': forge({ attempts: 1e6 }),
  'wants half an attempt': forge({ attempts: 1.5 }),
  'waits for ten years': forge({ delay: 315_360_000_000 }),
  'is empty': {},
  'is a list': ['afterCreateJob'],
  'is a text': 'afterCreateJob',
  'is null': null,
}

/** What nothing here knows, but perhaps another process. */
export const STRANGE: Readonly<Record<string, unknown>> = {
  'an unknown service': forge({ service: 'novel' }),
  'a service that is called like the prototype': forge({ service: '__proto__' }),
  'a service that is called like a method of all objects': forge({ service: 'constructor' }),
  'an unknown hook': forge({ hook: 'afterPublishJob' }),
  'a version to come': { version: 2, service: 'bench', hook: 'afterCreateJob', all: 'else' },
}
