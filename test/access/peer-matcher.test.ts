import test, { type ExecutionContext } from 'ava'
import { execFileSync } from 'node:child_process'
import { X509Certificate, createHash } from 'node:crypto'
import type { StreamContext } from '../../src/index.ts'
import { Peer } from '../../src/identity/peer.ts'
import { type PeerSelector, compilePeerMatcher } from '../../src/access/peer-matcher.ts'
import { contents, path } from '../support/certificates.ts'

const ctx = {} as StreamContext

function peer(name: string): Peer {
  return new Peer(new X509Certificate(contents(`${name}.crt`)))
}

/** What a rule says of the peer with that certificate. */
function says(who: PeerSelector, name = 'alice'): boolean | Promise<boolean> {
  return compilePeerMatcher('test', who)(peer(name), ctx)
}

const { fingerprint256 } = peer('alice')

const held: readonly (readonly [what: string, who: PeerSelector, name?: string])[] = [
  ['a string', 'alice'],
  ['a pattern', /^ali/],
  ['a predicate', () => true],
  ['an array, by one of its parts', ['mallory', /x/, 'alice']],
  ['cn', { cn: 'alice' }],
  ['o', { o: 'Acme' }],
  ['ou', { ou: 'ops' }],
  ['dns', { dns: 'alice' }],
  ['dns in another case', { dns: 'ALICE' }],
  ['dns by a pattern in another case', { dns: /^ALI/ }],
  ['dns of a wildcard, as it is written', { dns: '*.example' }, 'wildcard'],
  ['uri', { uri: 'spiffe://acme/alice' }],
  ['email', { email: 'alice@acme.test' }],
  ['ip', { ip: '10.0.0.1' }],
  ['ip, mapped in the certificate', { ip: '10.0.0.2' }],
  ['ip, mapped in the rule', { ip: '::ffff:a00:1' }],
  ['ip in another spelling', { ip: 'FD00:0::1' }],
  ['fingerprint', { fingerprint: fingerprint256 }],
  [
    'fingerprint without colons, in lower case',
    { fingerprint: fingerprint256.replaceAll(':', '').toLowerCase() },
  ],
  [
    'fingerprint by a pattern of its beginning',
    { fingerprint: new RegExp(`^${fingerprint256.slice(0, 8).toLowerCase()}`) },
  ],
  ['several values, by one of them', { cn: ['bob', /^al/] }],
  ['several fields, all of which hold', { cn: 'alice', ou: 'ops', dns: /./ }],
  ['a common name in UTF-8', 'älice ☃', 'unicode'],
]
for (const [what, who, name] of held) {
  test(`a rule holds: ${what}`, (t) => {
    t.is(says(who, name), true)
  })
}

const not: readonly (readonly [what: string, who: PeerSelector, name?: string])[] = [
  ['a string that is only a part', 'alic'],
  ['a string in another case', 'Alice'],
  ['a string with a space', 'alice', 'space'],
  ['a pattern', /^bob$/],
  ['a predicate', () => false],
  ['an empty array', []],
  ['no value', { cn: [] }],
  ['a string against the DNS name alone', 'alice', 'sanOnly'],
  ['dns against the common name alone', { dns: 'mallory' }, 'mallory'],
  ['dns against a wildcard', { dns: 'a.example' }, 'wildcard'],
  ['a wildcard in the rule', { dns: '*' }],
  ['dns within a URI', { dns: 'alice' }, 'sanInjection'],
  ['a URI that is only the beginning', { uri: 'spiffe://acme/' }],
  ['a URI in another case', { uri: 'SPIFFE://acme/alice' }],
  ['a URI with an asterisk', { uri: 'spiffe://acme/*' }],
  ['regular expression marks in a string', { uri: 'spiffe://acme/.*' }],
  ['an e-mail address in another case', { email: 'Alice@acme.test' }],
  ['an address of another', { ip: '10.0.0.3' }],
  ['the fingerprint of another', { fingerprint: peer('bob').fingerprint256 }],
  ['several fields, one of which does not hold', { cn: 'alice', ou: 'sales' }],
  ['a common name where there is none', /.*/, 'sanOnly'],
  ['a common name where there are two', /.*/, 'twoNames'],
  ['a join of two common names', 'alice,mallory', 'twoNames'],
]
for (const [what, who, name] of not) {
  test(`a rule does not hold: ${what}`, (t) => {
    t.is(says(who, name), false)
  })
}

test('a text that only a mistake would make is refused: empty, or with the end of a line', (t) => {
  for (const text of ['', ' ', 'mallory\r', 'mallory\n', ' mallory', '\tmallory', 'mal\0lory']) {
    for (const who of [text, ['alice', text], { ou: text }, { o: [text] }, { uri: text }]) {
      const made = (): unknown => compilePeerMatcher('denyList', who)
      t.throws(
        made,
        { code: 'ERR_CIO_OPTION', message: /a RegExp matches these/ },
        JSON.stringify(who),
      )
    }
    for (const who of [{ dns: text }, { email: text }]) {
      t.throws(() => compilePeerMatcher('denyList', who), { code: 'ERR_CIO_OPTION' })
    }
  }
  t.is(says(/^alice $/, 'space'), true)
})

test('a sticky pattern holds at the beginning of a name alone', (t) => {
  const mallory = peer('mallory')
  t.true(compilePeerMatcher('list', /mall/y)(mallory, ctx))
  t.false(compilePeerMatcher('list', /lory/y)(mallory, ctx))
  t.false(compilePeerMatcher('list', { cn: /lory/gy })(mallory, ctx))
  t.true(compilePeerMatcher('list', /lory/g)(mallory, ctx))
})

test('a pattern that is global or sticky holds every time', (t) => {
  for (const pattern of [/alice/g, /alice/y, /alice/gy]) {
    const rule = compilePeerMatcher('test', pattern)
    for (let round = 0; round < 4; round++) t.is(rule(peer('alice'), ctx), true)
  }
})

test('a pattern keeps its other flags', (t) => {
  t.is(says(/^ALICE$/i), true)
  t.is(says(/^ALICE$/), false)
  t.is(says(/^\p{L}lice/u, 'unicode'), true)
})

test('parts are asked in turn, until one holds', async (t) => {
  const asked: string[] = []
  const part = (name: string, answer: boolean) => async () => {
    asked.push(name)
    return answer
  }
  t.true(await says([part('a', false), 'mallory', part('b', true), part('c', true)]))
  t.deepEqual(asked, ['a', 'b'])
  t.false(await says([part('a', false), part('b', false)]))
})

test('a predicate is given the peer and the context', (t) => {
  const alice = peer('alice')
  const rule = compilePeerMatcher('test', (who, where) => who === alice && where === ctx)
  t.is(rule(alice, ctx), true)
})

for (const [what, answer] of [
  ['undefined', undefined],
  ['1', 1],
  ['a string', 'yes'],
  ['null', null],
  ['an object', {}],
] as const) {
  test(`a predicate that answers ${what} is an error, at once and later`, async (t) => {
    const expected = { code: 'ERR_CIO_OPTION' }
    t.throws(() => says(() => answer as unknown as boolean), expected)
    await t.throwsAsync(async () => says(async () => answer as unknown as boolean), expected)
  })
}

test('a thenable is awaited, not taken for true', async (t) => {
  class Later extends Promise<boolean> {}
  t.false(await says(() => new Later((resolve) => resolve(false))))
  t.true(await says(() => new Later((resolve) => resolve(true))))
})

function refuses(t: ExecutionContext, who: unknown, message?: RegExp): void {
  t.throws(() => compilePeerMatcher('test', who as PeerSelector), {
    code: 'ERR_CIO_OPTION',
    ...(message && { message }),
  })
}

test('a rule of no kind that is known is refused', (t) => {
  for (const who of [undefined, null, 1, true, [['alice']], Symbol('x'), [undefined]])
    refuses(t, who)
})

test('a rule of no field, or of an unknown one, is refused', (t) => {
  refuses(t, {}, /at least one field/)
  refuses(t, new Map([['cn', 'alice']]))
  refuses(t, { name: 'alice' }, /no field `name`; it has cn, ou/)
  refuses(t, { cn: 'alice', CN: 'alice' }, /no field `CN`/)
  refuses(t, { constructor: 'alice' })
})

test('a field of no kind that is known is refused', (t) => {
  for (const cn of [undefined, null, 1, {}, ['alice', 1]]) refuses(t, { cn })
})

test('a value that no certificate can have is refused', (t) => {
  refuses(t, { ip: '10.0.0.0/8' }, /an IP address/)
  refuses(t, { ip: 'example.org' })
  refuses(t, { fingerprint: 'AA:BB:CC' }, /64 digits/)
  // SHA-1, and a digit too many.
  refuses(t, { fingerprint: 'AA'.repeat(20) })
  refuses(t, { fingerprint: `${fingerprint256}0` })
  refuses(t, { fingerprint: [fingerprint256, 'sha256:x'] })
})

test('a pin of the public key holds for that key, in any certificate, and for no other', async (t) => {
  const alice = peer('alice')
  const der = alice.certificate.publicKey.export({ type: 'spki', format: 'der' })
  const digest = createHash('sha256').update(der).digest('base64')
  const other = `sha256/${createHash('sha256').update('other').digest('base64')}`
  t.is(alice.spki, `sha256/${digest}`)
  t.true(await says({ spki: `sha256/${digest}` }))
  t.true(await says({ spki: [other, `sha256/${digest}`] }))
  t.false(await says({ spki: other }))
  t.false(await says({ spki: `sha256/${digest}`, cn: 'somebody else' }))
})

test('a pin is what openssl makes of the certificate', (t) => {
  const script =
    'openssl x509 -in "$0" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64'
  for (const name of ['alice', 'serverRsa', 'serverEd25519']) {
    const pin = execFileSync('sh', ['-c', script, path(`${name}.crt`)])
      .toString()
      .trim()
    t.is(new Peer(new X509Certificate(contents(`${name}.crt`))).spki, `sha256/${pin}`)
  }
})

test('a pin that no key can have is refused', (t) => {
  const digest = createHash('sha256').update('key').digest('base64')
  for (const spki of [
    digest,
    `sha1/${digest}`,
    `sha256:${digest}`,
    `SHA256/${digest}`,
    `sha256/${digest.slice(1)}`,
    `sha256/${digest}=`,
    `sha256/${digest.slice(0, -1)}`,
    `sha256/${Buffer.from(digest, 'base64').toString('hex')}`,
    'sha256/',
    '',
    [`sha256/${digest}`, 'sha256/x'],
  ]) {
    refuses(t, { spki }, /base64/)
  }
})
