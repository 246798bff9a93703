/** Slips at registration: a factory that is not called, `use()`, a hint with a letter wrong. */

import test from 'ava'
import { spawnSync } from 'node:child_process'
import { Cio, type ServerContext } from '../src/index.ts'
import { closeAfter } from './support/serve.ts'
import { nextEvent, open } from './support/transports.ts'
import { built, flags } from './support/typescript.ts'

const cio = (await import('../src/index.ts')) as unknown as Record<string, never>

const onConnections = [
  'allowList',
  'codec',
  'contentLength',
  'denyList',
  'events',
  'certificateExpiry',
  'frames',
  'json',
  'lines',
  'limit',
  'multiplex',
  'forward',
  'proxyProtocol',
  'rpc',
  'startTls',
  'timeout',
  'layer',
] as const

for (const name of onConnections) {
  test(`\`useConnection(${name})\` is an error that says to call it`, async (t) => {
    const app = new Cio()
    app.useConnection(cio[name]!)
    const told = nextEvent(app, 'error')
    await open(t, app, 'tcp')
    const [error] = await told
    t.is((error as NodeJS.ErrnoException).code, 'ERR_CIO_NOT_CALLED')
    t.true(error.message.includes(`\`${name}()\``))
  })
}

for (const name of ['drain', 'inherited', 'relisten', 'sessionTickets'] as const) {
  test(`\`useServer(${name})\` is an error that says to call it`, async (t) => {
    const app = new Cio()
    closeAfter(t, app)
    app.useServer(cio[name]!)
    await t.throwsAsync(app.listen(), { code: 'ERR_CIO_NOT_CALLED' })
  })
}

for (const name of ['reconnect', 'httpConnect', 'json'] as const) {
  test(`\`useClient(${name})\` is an error that says to call it`, async (t) => {
    const app = new Cio()
    closeAfter(t, app)
    app.useClient(cio[name]!, { before: 'connect' })
    await t.throwsAsync(app.connect(1), { code: 'ERR_CIO_NOT_CALLED' })
  })
}

test('a generator, which would run nothing, is refused where it is registered', (t) => {
  for (const generator of [function* () {}, async function* () {}]) {
    for (const use of ['useServer', 'useConnection', 'useClient'] as const) {
      const error = { code: 'ERR_CIO_OPTION', message: /no generator/ }
      t.throws(() => new Cio()[use](generator as never), error)
    }
  }
})

test('use() names the three methods to choose from', (t) => {
  const app = new Cio() as unknown as { use(middleware: unknown): void }
  const error = t.throws(() => app.use(() => {}), { code: 'ERR_CIO_USE' })
  for (const name of ['useServer', 'useConnection', 'useClient'])
    t.regex(error.message, new RegExp(name))
  t.false(Object.keys(app).includes('use'))
})

function warningsOf(hints: object): string {
  const program = `
    import { Cio } from ${JSON.stringify(built(new URL('../src/index.ts', import.meta.url)).href)}
    const app = new Cio().useConnection(function mine(ctx) { ctx.stream.end() }, ${JSON.stringify(hints)})
    await (await app.listen(0)).close()
    await (await app.listen(0)).close()
  `
  return spawnSync(process.execPath, [...flags, '--input-type=module', '-e', program], {
    encoding: 'utf8',
  }).stderr
}

for (const [wrong, hints] of Object.entries({
  secrue: { before: 'secrue' },
  secre: { after: 'secre' },
  seccure: { before: ['other', 'seccure'] },
  sekure: { before: 'sekure' },
})) {
  test(`a hint for \`${wrong}\` warns once, and says what may be meant`, (t) => {
    const warnings = warningsOf(hints)
    t.is(warnings.match(/CIO_HINT/g)?.length, 1)
    t.true(warnings.includes(wrong) && warnings.includes('did you mean `secure`?'))
  })
}

test('a hint for what is absent, and like nothing that is there, warns of nothing', (t) => {
  t.is(warningsOf({ before: 'allowList', after: ['*', 'secure'] }), '')
})

test('a hint that is wrong by a letter refuses nothing', async (t) => {
  const app = new Cio().useConnection(() => {}, { before: 'secrue' })
  closeAfter(t, app)
  const server: ServerContext = await app.listen()
  t.true(server.port > 0)
})
