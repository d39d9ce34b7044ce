import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findFreePort } from '../crew/free-port'
import type { Finisher } from '../crew/shared-engine'
import { live } from './support/life'
import { describeWithServer, openServer } from './support/suite'

const isMissing = spawnSync('openssl', ['version']).status !== 0
const lack = isMissing && !process.env.CI ? ' (skipped: openssl is not installed)' : ''

describeWithServer('over TLS', { skip: lack !== '', timeout: 30_000 }, () => {
  test(`a job runs, and the certificate is checked${lack}`, async (context) => {
    const { url, certificate } = await openTlsServer(context)
    const trusting = live('one that runs a job', url, { NODE_EXTRA_CA_CERTS: certificate })
    const [said, complaint] = await Promise.all([trusting, live('one that ends with its first error', url)])
    expect(said).toBe('done')
    expect(complaint).toMatch(/^ENQUEUE_FAILED: .*self-signed certificate/)
  })
})

/** A Redis that speaks nothing but TLS, with a certificate of its own. */
async function openTlsServer({ onTestFinished }: Finisher): Promise<{ url: string; certificate: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'after-jobs-tls-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const [certificate, key] = [join(folder, 'certificate.pem'), join(folder, 'key.pem')]
  const names = 'subjectAltName=IP:127.0.0.1'
  const how = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const what = ['-subj', '/CN=after-jobs', '-addext', names, '-keyout', key, '-out', certificate]
  execFileSync('openssl', ['req', ...how, ...what], { stdio: 'pipe' })
  const port = await findFreePort()
  const files = { 'tls-cert-file': certificate, 'tls-key-file': key, 'tls-ca-cert-file': certificate }
  const directives = { port: '0', 'tls-port': String(port), 'tls-auth-clients': 'no', ...files }
  await openServer({ onTestFinished }, { directives })
  return { url: `rediss://127.0.0.1:${port}`, certificate }
}
