import test, { type ExecutionContext } from 'ava'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import {
  type Admission,
  Cio,
  type CioError,
  type ListenOptions,
  type ServerContext,
  type StreamContext,
  allowList,
  defineMiddleware,
  denyList,
} from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { LiveFiles } from '../support/live-files.ts'
import { serve } from '../support/serve.ts'
import { connectTls } from '../support/tls.ts'

const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** The certificate of a file, and the intermediates after it. */
function certificates(name: string): [X509Certificate, ...X509Certificate[]] {
  const all = contents(`${name}.crt`).toString('latin1').match(block)!
  return all.map((pem) => new X509Certificate(pem)) as [X509Certificate, ...X509Certificate[]]
}

function ask(server: ServerContext, name: string): Promise<Admission> {
  const [certificate, ...issuers] = certificates(name)
  return server.wouldAdmit(certificate, { issuers })
}

function secured(
  t: ExecutionContext,
  app: Cio,
  options: ListenOptions = {},
): Promise<ServerContext> {
  return serve(t, app, { ...identity('server'), ca: path('root.crt'), ...options })
}

const refusalIn = ({ steps }: Admission) => steps.find(({ refusal }) => refusal)?.refusal

const names = [
  'alice',
  'bob',
  'mallory',
  'noEku',
  'serverOnly',
  'codeSigning',
  'certSign',
  'otherCa',
  'expired',
  'selfSigned',
  'revoked',
  'twoNames',
  'noName',
  'nulUtf8',
  'bitString',
  'viaInter',
  'viaInterChain',
  'viaNotCaChain',
  'viaFakeRoot',
  'viaSubChain',
]

/** OpenSSL finds more than one thing wrong, and its verdict is the last. */
const twoFaults = new Set(['selfSigned', 'viaNotCaChain', 'viaInter', 'viaSubChain'])
const refusedToo = new Set(['serverOnly', 'codeSigning', 'certSign', 'revoked'])

for (const crl of ['revoked.crl', 'expired.crl', undefined]) {
  test(`wouldAdmit says what a handshake and the lists do, with ${crl ?? 'no revocation list'}`, async (t) => {
    const app = new Cio()
      .useConnection(denyList(['mallory']))
      .useConnection(allowList(['alice', 'mallory', 'revoked']))
      .useConnection(({ stream }) => void stream.end('welcome'))
    const server = await secured(t, app, crl === undefined ? {} : { crl: path(crl) })
    for (const name of names) {
      const admission = await ask(server, name)
      const rejected: CioError[] = []
      app.removeAllListeners('reject')
      app.on('reject', (error) => rejected.push(error))
      const closed = once(app, 'close')
      await connectTls(t, server, loaded(name))
      await closed
      t.is(admission.admitted, rejected.length === 0, name)
      if (twoFaults.has(name) || (crl === 'expired.crl' && refusedToo.has(name))) continue
      t.deepEqual(refusalIn(admission), rejected[0]?.refusal, name)
    }
  })
}

test('wouldAdmit follows update(), reload() and the pipeline, and emits nothing', async (t) => {
  const files = new LiveFiles(t)
  files.put('crl', 'empty.crl')
  const list = allowList(['bob'])
  const app = new Cio().useConnection(list)
  const server = await secured(t, app, { crl: files.crl })
  app.on('reject', () => t.fail())
  const whyOf = async (name: string) => refusalIn(await ask(server, name))?.why

  t.is(await whyOf('alice'), 'not_listed')
  await list.update(['alice', 'revoked'])
  t.is(await whyOf('alice'), undefined)
  t.is(await whyOf('revoked'), undefined)
  files.put('crl', 'revoked.crl')
  await server.reload()
  t.is(await whyOf('revoked'), 'revoked')
  app.pipelines.connection.disable('allowList')
  t.deepEqual(
    (await ask(server, 'bob')).steps.map(({ name, outcome }) => `${name} ${outcome}`),
    ['secure admits'],
  )
})

test('wouldAdmit asks predicates, and says so where one reads the connection or fails', async (t) => {
  const list = allowList(async (peer) => peer.organization.includes('Acme'))
  const app = new Cio().useConnection(list)
  const server = await secured(t, app)
  t.true((await ask(server, 'alice')).admitted)
  t.is(refusalIn(await ask(server, 'bob'))?.why, 'not_listed')

  for (const rule of [
    (_: unknown, { remote }: StreamContext) => remote !== '',
    async (_: unknown, ctx: StreamContext) => 'rpc' in ctx,
    (_: unknown, ctx: StreamContext) => {
      try {
        return ctx.encrypted
      } catch {
        return false
      }
    },
  ]) {
    await list.update(rule)
    const { admitted, steps } = await ask(server, 'alice')
    t.is(admitted, undefined)
    t.is(steps.at(-1)?.outcome, 'unknown')
    t.regex(steps.at(-1)?.message ?? '', /reads the connection/)
  }
  await list.update(() => {
    throw new Error('no database')
  })
  t.is(refusalIn(await ask(server, 'alice'))?.why, 'rule_failed')
  const slow = allowList(() => new Promise<boolean>(() => {}), { timeout: 1 })
  app.pipelines.connection.replace('allowList', slow)
  t.is(refusalIn(await ask(server, 'alice'))?.why, 'rule_timeout')
})

test('a list without an identity refuses, and a dry run and a middleware of others are asked too', async (t) => {
  const app = new Cio().useConnection(allowList(['bob'], { dryRun: true })).useConnection(
    defineMiddleware<StreamContext>(
      {
        name: 'tenants',
        after: 'allowList',
        needs: 'peer',
        refusalOf: ({ name }) =>
          name === 'alice' ? undefined : { step: 'tenants', why: 'no_tenant' },
      },
      function tenants(_, next) {
        return next()
      },
    ),
  )
  const server = await secured(t, app, { rejectUnauthorized: false })
  t.true((await ask(server, 'alice')).admitted)
  t.like(refusalIn(await ask(server, 'bob')), { step: 'tenants', why: 'no_tenant' })
  t.like(refusalIn(await ask(server, 'expired')), { step: 'tenants', why: 'expired' })
  t.regex(refusalIn(await ask(server, 'bob'))?.at ?? '', /admission\.test\.ts:\d+/)

  const optional = new Cio().useConnection(allowList(['alice'], { dryRun: true }))
  const plain = await serve(t, optional)
  t.true((await ask(plain, 'otherCa')).admitted)
})

test('name constraints, and trust that a callback chooses, are for a handshake to judge', async (t) => {
  const app = new Cio().useConnection(allowList(['alice']))
  const server = await secured(t, app)
  const { admitted, steps } = await ask(server, 'viaConstrainedChain')
  t.is(admitted, undefined)
  t.regex(steps[0]?.message ?? '', /constrained.*name constraints/)
  const chosen = await serve(t, new Cio(), {
    ...loaded('server'),
    requestCert: true,
    SNICallback: (_, done) => done(null),
  })
  t.regex((await ask(chosen, 'alice')).steps[0]?.message ?? '', /SNICallback/)
})

test('the trust of a name is that of its entry in sni', async (t) => {
  const named = { ...identity('server2'), ca: path('other.crt') }
  const server = await secured(t, new Cio(), { sni: { 'a.test': named } })
  const [certificate] = certificates('otherCa')
  t.false((await server.wouldAdmit(certificate)).admitted)
  t.true((await server.wouldAdmit(certificate, { servername: 'a.test' })).admitted)
})

test('wouldAdmit refuses what is no certificate, and unknown options', async (t) => {
  const server = await secured(t, new Cio())
  await t.throwsAsync(server.wouldAdmit('alice' as never), { code: 'ERR_CIO_OPTION' })
  const [certificate] = certificates('alice')
  const odd = { chain: [] } as object
  await t.throwsAsync(server.wouldAdmit(certificate, odd), { code: 'ERR_CIO_OPTION' })
})
