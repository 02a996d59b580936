// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev The cheats that these tests use, of those that forge offers.
interface Vm {
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function warp(uint256 timestamp) external;
    function chainId(uint256 id) external;
    function expectRevert(bytes calldata data) external;
    function expectRevert(bytes4 selector) external;
    function expectRevert() external;
    function expectEmit(bool topic1, bool topic2, bool topic3, bool data) external;
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function addr(uint256 key) external pure returns (address);
    function assume(bool condition) external pure;
    function envOr(string calldata name, bytes calldata otherwise) external view returns (bytes memory);
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function readFileBinary(string calldata path) external view returns (bytes memory);
    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256);

    /// @dev What a call left in the log.
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }
}
