import test from 'ava'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { Cio, denyList } from 'cio'
import { type SharedListOptions, cluster, sharedList, sharedTrust } from '../src/index.ts'
import { openDocument, signDocument } from '../src/shared/document.ts'
import { sharedContract } from './contracts/shared.ts'
import frozen from './fixtures/documents.json' with { type: 'json' }
import { memoryEngines } from './support/engines.ts'

sharedContract({ test, over: 'in memory', engines: memoryEngines })

const { publicKey, privateKey } = generateKeyPairSync('ed25519')

test('keys must be Ed25519, and no message contains one', (t) => {
  const here = cluster()
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' })
  const make = (options: object) => (): unknown =>
    sharedList(here, { name: 'a', list: denyList([]), ...options } as unknown as SharedListOptions)
  for (const options of [
    {},
    { verifyKey: rsa.publicKey },
    { verifyKey: [] },
    { verifyKey: 'secret words' },
    { verifyKey: publicKey, signKey: rsa.privateKey },
    { verifyKey: publicKey, signKey: publicKey },
    { verifyKey: publicKey, signKey: 'secret words' },
    { verifyKey: publicKey, file: '' },
    { verifyKey: publicKey, startTimeout: -1 },
    { verifyKey: publicKey, unknown: 1 },
    { verifyKey: publicKey, list: {} },
  ]) {
    const { message } = t.throws(make(options), { code: 'ERR_CIO_OPTION' })
    t.false(message.includes('secret words'))
  }
  t.throws(() => sharedTrust(here, { option: 'cert' as 'ca', verifyKey: publicKey }), {
    code: 'ERR_CIO_OPTION',
  })
  t.notThrows(make({ verifyKey: [pem, publicKey], signKey: pem }))
  t.throws(make({ verifyKey: pem }), { code: 'ERR_CIO_OPTION' }, 'the name is taken')
})

test('a list with a function cannot be shared', async (t) => {
  const here = cluster()
  const list = denyList([])
  const shared = sharedList(here, { name: 'a', list, verifyKey: publicKey, signKey: privateKey })
  await here.open()
  t.teardown(() => here.close())
  for (const who of [[() => true], 'mallory', [{ cm: 'typo' }], [{}], [7]]) {
    await t.throwsAsync(shared.publish(who as string[]), { code: 'ERR_CIO_OPTION' })
  }
  const quiet = sharedList(here, { name: 'b', list, verifyKey: publicKey })
  await t.throwsAsync(quiet.publish(['a']), { code: 'ERR_CIO_OPTION', message: /signKey/ })
})

test('a key is replaced by trusting both for a while', async (t) => {
  const next = generateKeyPairSync('ed25519')
  const here = cluster()
  const list = denyList([])
  const both = [publicKey, next.publicKey]
  const old = sharedList(here, { name: 'a', list, verifyKey: both, signKey: privateKey })
  await here.open()
  t.teardown(() => here.close())
  await old.applied(await old.publish(['one']))
  const app = new Cio().useServer(here).useServer(old)
  const server = await app.listen({ bind: false })
  t.teardown(() => server.close({ timeout: 0 }))
  const table = await here.engine.table('shared', { ttl: Infinity })
  const row = (await table.get('a'))!
  const subject = { name: 'a', purpose: 'list' } as const
  const { body } = openDocument(subject, row.value!, both)
  await table.put('a', signDocument(subject, 2, body, next.privateKey))
  await old.applied(2)
  t.is(old.revision, 2)
})

test('a signed document is what it was when it was frozen', (t) => {
  const { name, revision, body, publicKey: key, bytes } = frozen
  const subject = { name, purpose: 'list' } as const
  const opened = openDocument(subject, Buffer.from(bytes, 'base64'), [
    generateKeyPairSync('ed25519').publicKey,
    createPublicKey(key),
  ])
  t.is(opened.revision, revision)
  t.is(Buffer.from(opened.body).toString('base64'), body)
  const changed = Buffer.from(bytes, 'base64')
  for (let at = 0; at < changed.length; at++) {
    changed[at]! ^= 1
    const open = (): unknown => openDocument(subject, changed, [createPublicKey(key)])
    // Bits of the signature's own encoding may say the same; what is signed may not change.
    try {
      t.is((open() as typeof opened).revision, revision)
      t.is(Buffer.from((open() as typeof opened).body).toString('base64'), body)
    } catch (error) {
      t.is((error as { code?: string }).code, 'ERR_CIO_SIGNATURE')
    }
    changed[at]! ^= 1
  }
})
