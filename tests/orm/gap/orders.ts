import { EntitySchema, MikroORM } from '@mikro-orm/libsql'
import type { Setting } from '../../crew/runtime'

/** A row, and the token of the job that belongs to it, by which a row whose job is missing can be found. */
export interface Order {
  readonly id: number
  readonly token: string
}

/** What a producer is told on its command line. */
export interface ProducerSetting extends Setting {
  /** Of the database. */
  readonly file: string
  readonly firstId: number
}

/** The name of the service in the queue. */
export const ORDERS = 'orders'

export const Order = new EntitySchema<Order>({
  name: 'order',
  properties: { id: { type: 'integer', primary: true, autoincrement: false }, token: { type: 'string' } },
})

/** Opens a database in a file, which outlives whoever is killed. */
export async function openOrders(file: string): Promise<MikroORM> {
  const orm = await MikroORM.init({ entities: [Order], dbName: file })
  await orm.schema.updateSchema()
  return orm
}
