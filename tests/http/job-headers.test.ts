import { createServer } from 'node:http'
import express from 'express'
import fastify from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import { jobHeaders } from '../../src/http/headers'
import { askOf, close, listen } from './faces'
import { TOKENS } from './stub-jobs'

const HEADERS = { 'Operation-Location': `/jobs/status/${TOKENS.done}`, 'Retry-After': '1' }
const LOWER = { 'operation-location': `/jobs/status/${TOKENS.done}`, 'retry-after': '1' }

test.each([undefined, null, ''])('no token, no header: %o', (token) => {
  expect(jobHeaders(token as undefined)).toEqual({})
})

test.each([
  [undefined, '/jobs'],
  ['/jobs', '/jobs'],
  ['/jobs/', '/jobs'],
  ['api/jobs', '/api/jobs'],
  ['/', ''],
  ['https://api.example.com/jobs', 'https://api.example.com/jobs'],
])('basePath %o', (basePath, prefix) => {
  const headers = jobHeaders(TOKENS.done, { basePath })
  expect(headers).toEqual({ 'Operation-Location': `${prefix}/status/${TOKENS.done}`, 'Retry-After': '1' })
})

test('they fit Headers', () => {
  expect(Object.fromEntries(new Headers(jobHeaders(TOKENS.done)))).toEqual(LOWER)
  expect(Response.json({}, { status: 201, headers: jobHeaders(TOKENS.done) }).headers.get('retry-after')).toBe('1')
})

test('they fit writeHead', async () => {
  const server = createServer((_request, response) => response.writeHead(202, jobHeaders(TOKENS.done)).end())
  await listen(server)
  onTestFinished(() => close(server))
  expect((await askOf(server)('POST', '/')).headers).toMatchObject(LOWER)
})

test('they fit Express', async () => {
  const app = express()
  app.post('/', (_request, response) => void response.status(201).set(jobHeaders(TOKENS.done)).json({}))
  app.delete('/', (_request, response) => void response.set(jobHeaders(undefined)).end())
  const server = createServer(app)
  await listen(server)
  onTestFinished(() => close(server))
  expect((await askOf(server)('POST', '/')).headers).toMatchObject(LOWER)
  expect((await askOf(server)('DELETE', '/')).headers).not.toHaveProperty('retry-after')
})

test('they fit Fastify', async () => {
  const app = fastify()
  app.post('/', (_request, reply) => reply.code(201).headers(jobHeaders(TOKENS.done)).send({}))
  expect((await app.inject({ method: 'POST', url: '/' })).headers).toMatchObject(LOWER)
})

test('they are plain data', () => {
  expect(jobHeaders(TOKENS.done)).toStrictEqual(HEADERS)
})
