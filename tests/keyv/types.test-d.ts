import { Keyv } from 'keyv'
import { expectTypeOf } from 'vitest'
import { type KeyvLike, keyvCache } from '../../src/keyv/cache'
import type { JobCache } from '../../src/ports/cache'

// The real Keyv fits, whatever it is said to hold.
expectTypeOf<Keyv>().toExtend<KeyvLike>()
expectTypeOf<Keyv<string>>().toExtend<KeyvLike>()
expectTypeOf(keyvCache(new Keyv())).toEqualTypeOf<JobCache>()
expectTypeOf(keyvCache(new Keyv({ namespace: 'traitement' }), { prefix: '', mirror: true })).toEqualTypeOf<JobCache>()

// So does the least that it needs.
declare const least: Pick<Keyv, 'get' | 'set'>
keyvCache(least)

// @ts-expect-error a Map is a store for a Keyv, not a Keyv: it would drop the time to live.
keyvCache(new Map())
// @ts-expect-error there is no such option
keyvCache(new Keyv(), { namespace: 'x' })
