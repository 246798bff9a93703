/** Reads and checks the TLS material that `certs` passes to Node. */

import type { SecureContextOptions } from 'node:tls'
import type { CertFilesOptions } from '../certs.ts'
import {
  checkCrl,
  checkDates,
  checkKinds,
  checkPairs,
  checkParameters,
  checkPfx,
  parseCertificates,
  parseKey,
  parsePfx,
  splitLists,
} from './check.ts'
import { checkPassphrase, load, loadAll } from './source.ts'

/**
 * The material of a TLS context, read and checked, under Node's names. The contents of `pfx` are in
 * `key` and `cert`.
 */
export type CertsMaterial = Pick<
  SecureContextOptions,
  'key' | 'cert' | 'ca' | 'crl' | 'dhparam' | 'passphrase'
>

/**
 * Reads and checks the options of `certs`.
 *
 * @throws `ERR_CIO_CERTIFICATE`, and `ERR_CIO_OPTION` for a value of an unsupported type
 */
export async function loadCerts(sources: CertFilesOptions): Promise<CertsMaterial> {
  const { passphrase, dhparam } = sources
  checkPassphrase(passphrase)
  const [key, cert, ca, pfx, lists] = await Promise.all([
    loadAll('key', sources.key),
    loadAll('cert', sources.cert),
    loadAll('ca', sources.ca),
    loadAll('pfx', sources.pfx),
    loadAll('crl', sources.crl),
  ])
  const dh = dhparam === undefined || dhparam === 'auto' ? dhparam : await load('dhparam', dhparam)

  const keys = key.map((one) => parseKey(one, one.passphrase ?? passphrase))
  const chains = cert.map((one) => parseCertificates('cert', one))
  const leaves = chains.map(([leaf]) => leaf!)
  checkPairs(key, keys, cert, chains)
  for (const [index, leaf] of leaves.entries()) checkDates('cert', cert[index]!, leaf)
  for (const one of ca) parseCertificates('ca', one)
  const crl = lists.flatMap(splitLists)
  const unpacked = pfx.map((one) => {
    checkPfx(one, one.passphrase ?? passphrase)
    return parsePfx(one, one.passphrase ?? passphrase)
  })
  checkKinds([...cert, ...pfx], [...leaves, ...unpacked.map(({ chain }) => chain[0]!)])
  for (const one of crl) checkCrl(one)
  if (typeof dh === 'object') checkParameters(dh)

  return {
    ...(key.length + pfx.length > 0 && {
      key: [
        ...key.map(({ content, passphrase: own }) => secret(content, own)),
        ...unpacked.map((one) => Buffer.from(one.key.export({ type: 'pkcs8', format: 'pem' }))),
      ],
      cert: [
        ...cert.map(({ content }) => content),
        ...unpacked.map(({ chain }) => Buffer.from(chain.join(''))),
      ],
    }),
    ...(ca.length > 0 && { ca: ca.map(({ content }) => content) }),
    ...(crl.length > 0 && { crl: crl.map(({ content }) => content) }),
    ...(dh !== undefined && { dhparam: typeof dh === 'string' ? dh : dh.content }),
    ...(passphrase !== undefined && { passphrase }),
  } as CertsMaterial
}

function secret(pem: Buffer, passphrase: string | undefined): object | Buffer {
  return passphrase === undefined ? pem : { pem, passphrase }
}
