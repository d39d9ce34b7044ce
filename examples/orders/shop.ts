import { PGlite } from '@electric-sql/pglite'
import { sql } from 'drizzle-orm'
import { integer, pgTable, serial, text } from 'drizzle-orm/pg-core'
import { drizzle, type PgliteDatabase } from 'drizzle-orm/pglite'

export const articles = pgTable('articles', {
  id: serial('id').primaryKey(),
  name: text('name').notNull(),
  stock: integer('stock').notNull(),
})

export const orders = pgTable('orders', {
  id: serial('id').primaryKey(),
  address: text('address').notNull(),
  articleId: integer('article_id').notNull(),
  pieces: integer('pieces').notNull(),
  status: text('status', { enum: ['placed', 'shipped', 'cancelled'] }).notNull(),
})

export const payments = pgTable('payments', { orderId: integer('order_id').primaryKey() })

/** What is taken out of the stock; one row for each order, so that a job that runs twice takes nothing twice. */
export const reservations = pgTable('reservations', {
  orderId: integer('order_id').primaryKey(),
  articleId: integer('article_id').notNull(),
  pieces: integer('pieces').notNull(),
})

export type Order = typeof orders.$inferSelect
export type NewOrder = Pick<Order, 'address' | 'articleId' | 'pieces'>

export type Database = PgliteDatabase & { $client: PGlite }
/** What Drizzle gives to the function of a transaction. */
export type Transaction = Parameters<Parameters<Database['transaction']>[0]>[0]

const TABLES = `
  CREATE TABLE articles (id serial PRIMARY KEY, name text NOT NULL, stock integer NOT NULL CHECK (stock >= 0));
  CREATE TABLE orders (
    id serial PRIMARY KEY, address text NOT NULL, article_id integer NOT NULL REFERENCES articles,
    pieces integer NOT NULL, status text NOT NULL
  );
  CREATE TABLE payments (order_id integer PRIMARY KEY REFERENCES orders);
  CREATE TABLE reservations (
    order_id integer PRIMARY KEY REFERENCES orders, article_id integer NOT NULL, pieces integer NOT NULL
  );`

/** A PostgreSQL in this process, which forgets everything at its end. */
export const database: Database = drizzle({ client: new PGlite() })

/** Opens a shop with full shelves. */
export async function openShop(): Promise<void> {
  await database.$client.exec(TABLES)
  await database.insert(articles).values([
    { name: 'Teapot', stock: 60 },
    { name: 'Lamp', stock: 60 },
    { name: 'Atlas', stock: 60 },
  ])
}

/** Counts what is on the shelves, of all articles. */
export async function countStock(): Promise<number> {
  const [row] = await database.select({ pieces: sql<number>`sum(${articles.stock})::int` }).from(articles)
  return row?.pieces ?? 0
}
