// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title A cumulative Merkle distributor of one ERC-20 token
/// @notice Each root commits to what every account has ever earned; a claim pays that, less what the account has
/// claimed before. So one claim covers all settlements, and a settlement that was skipped loses nothing.
/// @dev A leaf is `keccak256(keccak256(abi.encode(chainId, distributor, account, cumulativeAmount)))`, and trees are
/// those of OpenZeppelin's StandardMerkleTree. Three roles, held by three addresses: the publisher, a hot key, submits
/// roots; the guardian may revoke them until they activate, and pause; the owner appoints both and takes surplus.
/// Nobody can change the code, and nobody but an account decides where its tokens go.
contract CumulativeDistributor is Ownable2Step, EIP712, Nonces, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice A submitted root. The live ones are linked in the order of their ids, and their totals never fall.
    struct Root {
        bytes32 root;
        bytes32 metadataHash;
        uint256 total;
        uint64 activatesAt;
        uint64 previousLive;
        uint64 nextLive;
        bool revoked;
    }

    /// @notice What a claim is made of; `account` has earned `cumulativeAmount` in all, by the root `id`.
    struct Claim {
        uint256 id;
        address account;
        uint256 cumulativeAmount;
        bytes32[] proof;
    }

    bytes32 private constant CLAIM_TO_TYPEHASH = keccak256(
        "ClaimTo(address account,address to,uint256 id,uint256 cumulativeAmount,uint256 nonce,uint256 deadline)"
    );

    /// @notice The shortest and the longest time, in seconds, that a root may wait before it activates.
    uint64 public constant SHORTEST_DELAY = 1 minutes;
    uint64 public constant LONGEST_DELAY = 30 days;

    /// @notice The token that is distributed.
    IERC20 public immutable TOKEN;
    /// @notice How long, in seconds, a root waits before it activates.
    uint64 public immutable ACTIVATION_DELAY;

    /// @notice Who submits roots.
    address public publisher;
    /// @notice Who revokes roots that are not active yet, and pauses.
    address public guardian;
    /// @notice Whether claims are paused.
    bool public claimsPaused;
    /// @notice Whether the submission of roots is paused.
    bool public rootsPaused;
    /// @notice The id of the root submitted last, revoked or not; the first has 1.
    uint256 public lastId;
    /// @notice The id of the last root that is not revoked, pending or active, or 0.
    uint256 public lastLiveId;
    /// @notice The most that may have been claimed in all: the highest total of the active roots claimed by so far.
    uint256 public ceiling;
    /// @notice What was claimed by all accounts.
    uint256 public totalClaimed;
    /// @notice What was claimed by an account.
    mapping(address account => uint256 amount) public claimed;

    mapping(uint256 id => Root root) private _roots;

    /// @notice The distributor was made; what it distributes and how long roots wait never changes.
    event Deployed(address indexed token, uint64 activationDelay);
    /// @notice A root was submitted; it may be claimed by from `activatesAt` on.
    event RootSubmitted(
        uint256 indexed id, bytes32 indexed root, uint256 total, bytes32 metadataHash, uint64 activatesAt
    );
    /// @notice A root was revoked before it activated.
    event RootRevoked(uint256 indexed id, bytes32 indexed root);
    /// @notice An account's tokens were paid, to itself or to where it wanted them.
    event Claimed(
        uint256 indexed id, address indexed account, address indexed to, uint256 amount, uint256 cumulativeAmount
    );
    /// @notice One of many claims could not be paid, because the token refused; it can be claimed again.
    event ClaimRefused(uint256 indexed id, address indexed account, uint256 amount);
    /// @notice An account's nonce was used, by a signature or to cancel one; its next one is higher by 1.
    event NonceUsed(address indexed account, uint256 nonce);
    /// @notice Claims were paused, or go on.
    event ClaimsPaused(bool paused);
    /// @notice The submission of roots was paused, or goes on.
    event RootsPaused(bool paused);
    /// @notice Another publisher was appointed.
    event PublisherChanged(address indexed before, address indexed publisher);
    /// @notice Another guardian was appointed.
    event GuardianChanged(address indexed before, address indexed guardian);
    /// @notice Tokens that nobody may claim were taken out.
    event SurplusSwept(address indexed to, uint256 amount);

    /// @notice The caller has not the role that this needs.
    error NotThePublisher(address caller);
    error NotTheGuardian(address caller);
    /// @notice Only an account itself may have its tokens paid elsewhere.
    error NotTheAccount(address caller, address account);
    /// @notice Two roles were to be held by one address, or one by none.
    error RolesMustDiffer(address holder);
    error NoAddress();
    /// @notice A distributor needs a token, which is a contract.
    error NotAToken(address token);
    /// @notice The delay is shorter or longer than allowed.
    error DelayOutOfBounds(uint64 delay);
    /// @notice Claims, or roots, are paused.
    error ClaimsArePaused();
    error RootsArePaused();
    /// @notice A root's id must follow the last one's; a repeated submission meets this.
    error WrongId(uint256 id, uint256 expected);
    error NoRoot();
    /// @notice A total is less than that of the live root before it.
    error TotalFell(uint256 total, uint256 before);
    /// @notice The distributor holds less than a root promises.
    error Underfunded(uint256 total, uint256 covered);
    /// @notice There is no such root, or it is revoked, not active yet, or active already.
    error UnknownRoot(uint256 id);
    error RevokedRoot(uint256 id);
    error InactiveRoot(uint256 id, uint64 activatesAt);
    error ActiveRoot(uint256 id, uint64 activatesAt);
    /// @notice The proof does not lead from this account and amount to the root.
    error WrongProof(uint256 id, address account, uint256 cumulativeAmount);
    /// @notice The account has claimed this much already.
    error NothingToClaim(address account, uint256 cumulativeAmount, uint256 claimed);
    /// @notice More would be paid in all than the highest total claimed by so far; only a wrong tree can ask for that.
    error MoreThanPromised(uint256 totalClaimed, uint256 ceiling);
    /// @notice Tokens are paid neither to the distributor itself nor to nobody.
    error WrongRecipient(address to);
    error SignatureExpired(uint256 deadline);
    error WrongSignature(address account);
    /// @notice The token moved another amount than it was told to: it takes a fee, or changes balances by itself.
    error InexactTransfer(uint256 wanted, uint256 sent, uint256 received);
    /// @notice Only what nobody may claim can be swept.
    error NotSurplus(uint256 amount, uint256 surplus);
    /// @notice Ownership cannot be given up.
    error OwnerNeeded();

    /// @param token the token that is distributed; it must move exact amounts.
    /// @param owner_ appoints the others, takes surplus. @param publisher_ submits roots.
    /// @param guardian_ revokes and pauses. @param activationDelay seconds between a root's submission and its activation.
    constructor(IERC20 token, address owner_, address publisher_, address guardian_, uint64 activationDelay)
        Ownable(owner_)
        EIP712("GhostledgerDistributor", "1")
    {
        if (address(token).code.length == 0) revert NotAToken(address(token));
        if (activationDelay < SHORTEST_DELAY || activationDelay > LONGEST_DELAY) {
            revert DelayOutOfBounds(activationDelay);
        }
        TOKEN = token;
        ACTIVATION_DELAY = activationDelay;
        publisher = publisher_;
        guardian = guardian_;
        _checkRoles(owner_);
        emit Deployed(address(token), activationDelay);
        emit PublisherChanged(address(0), publisher_);
        emit GuardianChanged(address(0), guardian_);
    }

    // Roots

    /// @notice Submit the root of the next tree. Ids are sequential, so that a repeated submission reverts.
    /// @param total the sum of all cumulative amounts in the tree.
    /// @param metadataHash commits to the settlement's checkpoint in the ledger's Merkle log.
    function submitRoot(uint256 id, bytes32 root, uint256 total, bytes32 metadataHash) external nonReentrant {
        if (msg.sender != publisher) revert NotThePublisher(msg.sender);
        if (rootsPaused) revert RootsArePaused();
        if (id != lastId + 1) revert WrongId(id, lastId + 1);
        if (root == bytes32(0)) revert NoRoot();
        uint256 live = lastLiveId;
        if (total < _roots[live].total) revert TotalFell(total, _roots[live].total);
        uint256 covered = TOKEN.balanceOf(address(this)) + totalClaimed;
        if (covered < total) revert Underfunded(total, covered);
        uint64 activatesAt = uint64(block.timestamp) + ACTIVATION_DELAY;
        _roots[id] = Root(root, metadataHash, total, activatesAt, uint64(live), 0, false);
        _roots[live].nextLive = uint64(id);
        lastId = id;
        lastLiveId = id;
        emit RootSubmitted(id, root, total, metadataHash, activatesAt);
    }

    /// @notice Revoke a root before it activates. Those submitted after it stay.
    function revokeRoot(uint256 id) external {
        if (msg.sender != guardian) revert NotTheGuardian(msg.sender);
        _revoke(id);
    }

    /// @notice Revoke many roots: a stolen publisher's key can submit many.
    function revokeRoots(uint256[] calldata ids) external {
        if (msg.sender != guardian) revert NotTheGuardian(msg.sender);
        for (uint256 i = 0; i < ids.length; ++i) {
            _revoke(ids[i]);
        }
    }

    /// @notice A root as it was submitted, and whether it is revoked.
    function rootOf(uint256 id) external view returns (Root memory) {
        return _roots[id];
    }

    /// @notice Whether accounts may claim by a root.
    function isActive(uint256 id) public view returns (bool) {
        Root storage found = _roots[id];
        return found.root != bytes32(0) && !found.revoked && block.timestamp >= found.activatesAt;
    }

    /// @notice What all accounts may claim in all, by the live roots, pending ones included.
    function promised() public view returns (uint256) {
        return _roots[lastLiveId].total;
    }

    /// @notice The tokens here that nobody may claim.
    function surplus() public view returns (uint256) {
        uint256 owed = promised() - totalClaimed;
        uint256 balance = TOKEN.balanceOf(address(this));
        return balance > owed ? balance - owed : 0;
    }

    // Claims

    /// @notice Pay an account what it has earned and not claimed yet. Anyone may ask; only the account is paid.
    /// @return amount what was paid.
    function claim(Claim calldata asked) external nonReentrant returns (uint256 amount) {
        amount = _claim(asked, asked.account);
    }

    /// @notice Pay the caller's tokens to another address.
    /// @return amount what was paid.
    function claimTo(Claim calldata asked, address to) external nonReentrant returns (uint256 amount) {
        if (msg.sender != asked.account) revert NotTheAccount(msg.sender, asked.account);
        amount = _claim(asked, to);
    }

    /// @notice Pay an account's tokens to another address, by the account's EIP-712 signature (EIP-1271 for wallets).
    /// @return amount what was paid.
    function claimToWithSignature(Claim calldata asked, address to, uint256 deadline, bytes calldata signature)
        external
        nonReentrant
        returns (uint256 amount)
    {
        if (block.timestamp > deadline) revert SignatureExpired(deadline);
        bytes32 digest = _hashTypedDataV4(
            keccak256(
                abi.encode(
                    CLAIM_TO_TYPEHASH,
                    asked.account,
                    to,
                    asked.id,
                    asked.cumulativeAmount,
                    _spendNonce(asked.account),
                    deadline
                )
            )
        );
        if (!SignatureChecker.isValidSignatureNowCalldata(asked.account, digest, signature)) {
            revert WrongSignature(asked.account);
        }
        amount = _claim(asked, to);
    }

    /// @notice Pay many accounts. Who has nothing to claim is passed over, and so is whom the token refuses to pay; a
    /// wrong proof reverts all. Where the token calls back whom it pays, one of them can make the whole call fail.
    /// @return paid what was paid to all of them.
    function claimMany(Claim[] calldata asked) external nonReentrant returns (uint256 paid) {
        for (uint256 i = 0; i < asked.length; ++i) {
            uint256 amount = _account(asked[i]);
            if (amount != 0 && _pay(asked[i], asked[i].account, amount, false)) paid += amount;
        }
    }

    /// @notice Give up a nonce, and with it every signature that was made with it.
    function cancelSignatures() external {
        _spendNonce(msg.sender);
    }

    /// @notice What signatures are made for.
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    // Roles

    /// @notice Pause claims, or let them go on.
    function pauseClaims(bool paused) external {
        if (msg.sender != guardian) revert NotTheGuardian(msg.sender);
        claimsPaused = paused;
        emit ClaimsPaused(paused);
    }

    /// @notice Pause the submission of roots, or let it go on.
    function pauseRoots(bool paused) external {
        if (msg.sender != guardian) revert NotTheGuardian(msg.sender);
        rootsPaused = paused;
        emit RootsPaused(paused);
    }

    /// @notice Appoint another publisher.
    function setPublisher(address publisher_) external onlyOwner {
        emit PublisherChanged(publisher, publisher_);
        publisher = publisher_;
        _checkRoles(owner());
    }

    /// @notice Appoint another guardian.
    function setGuardian(address guardian_) external onlyOwner {
        emit GuardianChanged(guardian, guardian_);
        guardian = guardian_;
        _checkRoles(owner());
    }

    /// @notice Take out tokens that nobody may claim.
    function sweep(address to, uint256 amount) external onlyOwner nonReentrant {
        if (to == address(0) || to == address(this)) revert WrongRecipient(to);
        uint256 most = surplus();
        if (amount > most) revert NotSurplus(amount, most);
        emit SurplusSwept(to, amount);
        uint256 mine = TOKEN.balanceOf(address(this));
        TOKEN.safeTransfer(to, amount);
        // What arrives is the owner's business, what leaves is everybody's.
        uint256 sent = Math.saturatingSub(mine, TOKEN.balanceOf(address(this)));
        if (sent != amount) revert InexactTransfer(amount, sent, amount);
    }

    /// @notice Become the owner that was proposed. Neither the publisher nor the guardian can.
    function acceptOwnership() public override {
        super.acceptOwnership();
        _checkRoles(msg.sender);
    }

    /// @notice Always refused: without an owner a stolen publisher's key could not be replaced.
    function renounceOwnership() public view override onlyOwner {
        revert OwnerNeeded();
    }

    // Private

    function _checkRoles(address owner_) private view {
        if (publisher == address(0) || guardian == address(0)) revert NoAddress();
        if (publisher == owner_ || publisher == guardian) revert RolesMustDiffer(publisher);
        if (guardian == owner_) revert RolesMustDiffer(guardian);
    }

    function _live(uint256 id) private view returns (Root storage found) {
        found = _roots[id];
        if (found.root == bytes32(0)) revert UnknownRoot(id);
        if (found.revoked) revert RevokedRoot(id);
    }

    function _revoke(uint256 id) private {
        Root storage found = _live(id);
        if (block.timestamp >= found.activatesAt) revert ActiveRoot(id, found.activatesAt);
        found.revoked = true;
        _roots[found.previousLive].nextLive = found.nextLive;
        if (found.nextLive == 0) lastLiveId = found.previousLive;
        else _roots[found.nextLive].previousLive = found.previousLive;
        emit RootRevoked(id, found.root);
    }

    /// @dev Checks a claim and returns what it comes to, which may be nothing.
    function _account(Claim calldata asked) private returns (uint256 amount) {
        if (claimsPaused) revert ClaimsArePaused();
        Root storage found = _live(asked.id);
        if (block.timestamp < found.activatesAt) revert InactiveRoot(asked.id, found.activatesAt);
        bytes32 leaf = keccak256(
            bytes.concat(keccak256(abi.encode(block.chainid, address(this), asked.account, asked.cumulativeAmount)))
        );
        if (!MerkleProof.verifyCalldata(asked.proof, found.root, leaf)) {
            revert WrongProof(asked.id, asked.account, asked.cumulativeAmount);
        }
        uint256 before = claimed[asked.account];
        amount = asked.cumulativeAmount > before ? asked.cumulativeAmount - before : 0;
        if (amount == 0) return 0;
        // A total is its publisher's word for the tree's sum; a wrong one must not be paid from what is promised later.
        uint256 most = Math.max(ceiling, found.total);
        if (totalClaimed + amount > most) revert MoreThanPromised(totalClaimed + amount, most);
        if (most > ceiling) ceiling = most;
    }

    function _claim(Claim calldata asked, address to) private returns (uint256 amount) {
        amount = _account(asked);
        if (amount == 0) revert NothingToClaim(asked.account, asked.cumulativeAmount, claimed[asked.account]);
        _pay(asked, to, amount, true);
    }

    /// @dev Pays, or else reverts where it must, and otherwise leaves everything as it was.
    function _pay(Claim calldata asked, address to, uint256 amount, bool must) private returns (bool paid) {
        if (to == address(0) || to == address(this)) revert WrongRecipient(to);
        claimed[asked.account] = asked.cumulativeAmount;
        totalClaimed += amount;
        (uint256 mine, uint256 theirs) = (TOKEN.balanceOf(address(this)), TOKEN.balanceOf(to));
        paid = must || TOKEN.trySafeTransfer(to, amount);
        if (must) TOKEN.safeTransfer(to, amount);
        // Some tokens say false and move what they were told to: a refusal counts only if nothing was moved.
        uint256 wanted = paid ? amount : 0;
        uint256 sent = Math.saturatingSub(mine, TOKEN.balanceOf(address(this)));
        uint256 received = Math.saturatingSub(TOKEN.balanceOf(to), theirs);
        if (sent != wanted || received != wanted) revert InexactTransfer(wanted, sent, received);
        if (paid) {
            emit Claimed(asked.id, asked.account, to, amount, asked.cumulativeAmount);
        } else {
            claimed[asked.account] = asked.cumulativeAmount - amount;
            totalClaimed -= amount;
            emit ClaimRefused(asked.id, asked.account, amount);
        }
    }

    function _spendNonce(address account) private returns (uint256 nonce) {
        nonce = _useNonce(account);
        emit NonceUsed(account, nonce);
    }
}
